"""How the ranks of a run meet: the variables of torchrun, the key-value store that all of them see."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import time
from datetime import timedelta
from typing import Any, Literal

from dlinear.engine.parallel.heartbeat import Heartbeat, as_one_line
from dlinear.errors import DistributedError

Link = Literal["gloo", "nccl"]

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def variables() -> tuple[int, int, str, int]:
    """RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT."""
    missing = [name for name in _VARIABLES if not os.environ.get(name)]
    if missing:
        raise DistributedError(f"{', '.join(missing)} not set: start with python -m torch.distributed.run")
    rank, world, host, port = (os.environ[name] for name in _VARIABLES)
    if not (rank.isdecimal() and world.isdecimal() and port.isdecimal() and int(rank) < int(world)):
        raise DistributedError(
            f"RANK={rank} WORLD_SIZE={world} MASTER_PORT={port}: not a rank below the size"
        )
    return int(rank), int(world), host, int(port)


def store(rank: int, world: int, host: str, port: int, timeout: float) -> Any:
    """The key-value store that all ranks see: the launcher's, or else one that rank 0 serves."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # its warnings would precede the one-line error
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    serves = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    words: dict[str, Any] = {"is_master": serves, "wait_for_workers": False, "use_libuv": True}
    try:
        if not serves:
            _reach(host, port, timeout)
        elif _is_loopback(host):  # torch itself would listen on every address
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            words["master_listen_fd"] = socket.create_server((host, port), family=family).detach()
        store = TCPStore(host, port, world, timeout=timedelta(seconds=timeout), **words)
    except (RuntimeError, OSError) as error:
        doing = "serve" if serves else f"reach, for {timeout:g} s,"
        line = " ".join(str(error).split())[:200]
        raise DistributedError(
            f"rank {rank} of {world} could not {doing} the meeting place {host}:{port}: {line}"
        ) from error
    return PrefixStore(f"dlinear/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _reach(host: str, port: int, timeout: float) -> None:
    """Wait until the store is served there; torch prints a long message where it is not."""
    end = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host, port), timeout=timeout).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def initialise(heartbeat: Heartbeat, link: Link, on_one_machine: bool) -> None:
    """The process group of torch, on loopback when all ranks are on one machine."""
    if link == "gloo":  # results go through the store: gloo aborts a process whose peer closes first
        return
    import torch

    if link == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if on_one_machine:
        loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
        if loopback is not None:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    with as_one_line(heartbeat, "the first meeting"):
        torch.distributed.init_process_group(
            link,
            store=heartbeat.store,
            rank=heartbeat.rank,
            world_size=heartbeat.world,
            timeout=timedelta(seconds=heartbeat.timeout),
        )


def on_one_machine(host: str, world: int) -> bool:
    """Whether all ranks run on this machine."""
    return _is_loopback(host) or os.environ.get("LOCAL_WORLD_SIZE") == str(world)


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
