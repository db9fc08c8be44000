"""Every schedule that a grid or a solver should take."""

from jaxdiff.config.build import build
from jaxdiff.diffusion import schedules
from jaxdiff.diffusion.process import Process

ALL_SCHEDULES = [
    "Cosine()",
    "EDM()",
    "Laplace()",
    "LinearBeta()",
    "RectifiedFlow()",
    "Sigmoid()",
    "SubVP()",
    "VarianceExploding()",
    "Tabulated()",
    "Tabulated(betas=scaled_linear_betas())",
    "Tabulated(betas=cosine_betas())",
    "LogSNRShift(shift=4.0)",
    "LogSNRShift(of=RectifiedFlow(), shift=3.0)",
    "LogSNRShift(of=EDM(), shift=0.5)",
    "LogSNRShift(of=Laplace(), shift=4.0)",
    "ZeroTerminalSNR()",
    "ZeroTerminalSNR(of=Tabulated(betas=scaled_linear_betas()))",
    "ZeroTerminalSNR(of=Tabulated(betas=cosine_betas()))",
]
COUNTS = (1, 2, 3, 5, 10, 50, 1000)


def process_of(schedule: str) -> Process:
    return Process(build(schedules, schedule))
