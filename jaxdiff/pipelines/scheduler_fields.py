"""Fields of scheduler_config.json: those that choose a rule of noise levels, and idle ones."""

SPREADS = {
    "use_karras_sigmas": "karras",
    "use_exponential_sigmas": "exponential",
    "use_lu_lambdas": "exponential",
    "use_beta_sigmas": "beta",
}
"""Fields that spread noise levels anew, and their rules."""

IGNORED = (
    "original_inference_steps",
    "timestep_scaling",
    "base_image_seq_len",
    "base_shift",
    "clip_sample",
    "clip_sample_range",
    "dynamic_thresholding_ratio",
    "euler_at_final",
    "lambda_min_clipped",
    "lower_order_final",
    "max_image_seq_len",
    "max_shift",
    "sample_max_value",
    "shift",
    "solver_order",
    "time_shift_type",
    "variance_type",
    "algorithm_type",
    "solver_type",
    "skip_prk_steps",
    "predict_x0",
    "flow_shift",
    "set_alpha_to_one",
    "sigma_min",
    "sigma_max",
)
"""Fields of other classes that are carried along, and those of an option that is off."""
