"""Several processes: they find each other, and say it plainly when one is missing."""

import logging

import jax

logger = logging.getLogger(__name__)

PORT = 8482
"""JAX's port of the coordinator on Cloud TPU; it was 8476 in older versions."""

HEARTBEAT_TIMEOUT = 60
"""Seconds after which a process that does not answer counts as dead."""


def join(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout: int = 300,
) -> None:
    """Joins the other processes of a run; call it before anything asks for devices.

    Under SLURM, Open MPI, Kubernetes and on Cloud TPU no argument is needed.

    Args:
        coordinator: host and port of process 0, which every process can reach.
        num_processes: how many there are.
        process_id: the place of this one, from 0.
        timeout: seconds to wait for the others.

    Raises:
        ValueError: an argument is missing or wrong, or the others were not found.
    """
    if coordinator is not None and not coordinator.rpartition(":")[2].isdigit():
        raise ValueError(f"coordinator={coordinator!r}: give host and port, such as host0:{PORT}")
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
        )
    except (ValueError, TypeError, RuntimeError) as error:
        given = {"coordinator": coordinator, "num_processes": num_processes}
        given["process_id"] = process_id
        why = str(error).strip().splitlines()[0]
        raise ValueError(
            f"the processes did not find each other ({why}), with {given}. Outside of SLURM, Open "
            "MPI, Kubernetes and Cloud TPU, give each process --coordinator=host0:port (or "
            "JAX_COORDINATOR_ADDRESS), --num_processes and --process_id. The port must be open "
            f"between the hosts: on Cloud TPU it is {PORT}, and was 8476 in older versions of JAX"
        ) from error
    logger.info(
        "process %d of %d; if another process dies, this one ends too, within %d s, with a stack "
        "of JAX's own; the same command then goes on from the last checkpoint",
        jax.process_index(),
        jax.process_count(),
        HEARTBEAT_TIMEOUT,
    )
