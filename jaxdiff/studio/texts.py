"""The text of settings that a picture gets, as other tools read it."""

from jaxdiff.pipelines import infotext
from jaxdiff.studio import control
from jaxdiff.studio.sources import Request, Source


def written(request: Request, source: Source, index: int, size: tuple[int, int]) -> str:
    """Returns the text of settings that a picture gets, as other tools read it."""
    defaults = source.defaults
    solver = str(request.solver or defaults["solver"])
    scale = request.guidance_scale
    scale = defaults["guidance_scale"] if scale is None else scale
    fields = {
        "Steps": request.steps or defaults["steps"],
        "Sampler": infotext.SAMPLERS.get(solver, solver),
        "Schedule type": request.timesteps,
        "CFG scale": f"{scale:g}",
        "Seed": request.seed,
        "Image index": request.first + index or None,
        "Size": f"{size[1]}x{size[0]}",
        "Model": source.name,
        "Denoising strength": request.strength,
        **control.named(request.control),
        "Version": "jaxdiff",
    }
    return infotext.written(request.prompt, request.negative, fields)
