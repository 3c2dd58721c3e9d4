"""A one-pass compressor: it learns to predict the file's bytes while it compresses them.

Decompression repeats the same learning from the bytes that it has decoded so far, so a file needs
no stored weights. This works only if both sides compute the same bits, which ramgru's kernels do on
any number of threads. The file is cut into a few streams that are read side by side; each byte is
coded with the probability that the network gave it (range coding, from `pip install constriction`),
and after every chunk the network takes one step of truncated backpropagation.

    python examples/compress.py notes.txt            # writes notes.txt.ramgru
    python examples/compress.py -d notes.txt.ramgru  # writes notes.txt
    python examples/compress.py                      # a demonstration on Python's own library
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import hashlib
import json
import lzma
import math
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import training
from torch import Tensor, nn

import ramgru
from ramgru import RAMGRU, Memory, files
from ramgru.errors import RamgruError
from ramgru.lab.cli.output import signals

try:
    from constriction import stream as coding
except ImportError:
    sys.exit("compress.py needs an entropy coder: pip install constriction")

MAGIC = b"ramgru compressed 1\n"
STREAMS = 4  # parts of the file that are read side by side
STREAMS_MOST = 64  # the memories of so many take two gigabytes
# Bytes that a bit can stand for: the coder gives each of 256 at least 2 ** -24 of a probability.
MOST_OF_A_BIT = -1 / math.log2(1 - 255 / 2**24)
FIRST_CHUNK, CHUNK = 8, 128  # steps between two updates of the weights: few at first, then more
RATE = 5e-3  # Adam's
WARM_UP = 10  # updates until the rate is reached
SLOWER = 100_000  # bytes until it falls

# What followed the last 1, 2, 3, … bytes when they came before. Old contents are overwritten.
HEADS = "key key:2 key:3 key:4 key:5 key:6 key:8 key:14"
MEMORY = Memory(cells=65_536, heads=HEADS, width=16, writes=1)


def ours(codes: int) -> nn.Module:
    """The default network: one layer with a random-access memory."""
    return RAMGRU(codes, 128, batch_first=True, controller="diagonal", carry="state", memory=MEMORY)


class Learner(nn.Module):
    """Predicts the next byte of B streams, and learns from each chunk once its bytes are known."""

    def __init__(
        self,
        streams: int,
        make: Callable[[int], nn.Module] = ours,
        rate: float = RATE,
        codes: int = 64,
        seed: int = 0,
    ) -> None:
        """make: a recurrent layer for inputs of this width; nn.GRU and nn.LSTM fit as well."""
        super().__init__()
        torch.manual_seed(seed)
        self.layer = make(codes)
        # Frozen with a memory, so that a key stays the same while everything else learns.
        has_memory = isinstance(self.layer, RAMGRU)
        self.codes = nn.Parameter(torch.randn(256, codes), requires_grad=not has_memory)
        width: Any = self.layer.hidden_size
        self.head = nn.Linear(width, 256)
        nn.init.zeros_(self.head.weight)
        self.optimizer = torch.optim.Adam(self.trained(), rate, betas=(0.9, 0.99), fused=True)
        self.rate, self.updates, self.learned = rate, 0, 0  # learned: bytes
        self.before: Any = None  # the state before the chunk that is learned next
        self.last = torch.zeros(streams, dtype=torch.int64)  # the byte before that chunk
        self.stream = self.layer.stream(streams) if has_memory else None
        self.now: Any = None  # without a stream: the state after the last step

    def trained(self) -> list[nn.Parameter]:
        return [p for p in self.parameters() if p.requires_grad]

    @torch.no_grad()
    def predict(self, last: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
        """One step: last (B,), the byte before in each stream -> probabilities (B, 256)."""
        x = nn.functional.embedding(last, self.codes)
        if self.stream is not None:
            y = self.stream.step(x)
        else:
            y, self.now = self.layer(x.unsqueeze(1), self.now)
            y = y.squeeze(1)
        return self.head(y).softmax(-1).numpy()

    def learn(self, chunk: Tensor) -> float:
        """chunk (B, T), the bytes that came -> their cost in bits, before they were learned."""
        inputs = torch.cat([self.last.unsqueeze(1), chunk[:, :-1]], dim=1)
        self.last = chunk[:, -1]
        y, after = self.layer(self.codes[inputs], self.before)
        self.before = training.detached(after)
        loss = nn.functional.cross_entropy(self.head(y).flatten(0, 1), chunk.flatten())
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained(), 1.0)
        self.updates, self.learned = self.updates + 1, self.learned + chunk.numel()
        slower = math.sqrt(1 + self.learned / SLOWER)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * min(1.0, self.updates / WARM_UP) / slower
        self.optimizer.step()
        return loss.item() / math.log(2) * chunk.numel()


def chunks(steps: int) -> Iterator[tuple[int, int]]:
    """The first step of each chunk and the one after its last: one more after eight updates."""
    start, updates = 0, 0
    while start < steps:
        end = min(start + min(FIRST_CHUNK + updates // 8, CHUNK), steps)
        yield start, end
        start, updates = end, updates + 1


def walk(learner: Learner, streams: int, steps: int, take: Callable[..., Tensor]) -> None:
    """Predict and learn the whole file. take(step, probabilities) -> (B,) the bytes at this step,
    which it writes or reads."""
    last = torch.zeros(streams, dtype=torch.int64)
    for start, end in chunks(steps):
        chunk = []
        for step in range(start, end):
            last = take(step, learner.predict(last))
            chunk.append(last)
        learner.learn(torch.stack(chunk, dim=1))


def compress(data: bytes, streams: int = STREAMS, **options: Any) -> bytes:
    """options: of `Learner`, which whoever decompresses must give again."""
    steps = -(-len(data) // streams)
    padded = np.frombuffer(data.ljust(steps * streams, b"\0"), np.uint8)
    symbols = np.ascontiguousarray(padded.reshape(streams, steps).T, np.int32)  # (T, B)
    known = torch.from_numpy(symbols).long()
    encoder, model = coding.queue.RangeEncoder(), coding.model.Categorical(perfect=False)

    def write(step: int, probabilities: Any) -> Tensor:
        encoder.encode(symbols[step], model, probabilities)
        return known[step]

    if data:
        walk(Learner(streams, **options), streams, steps, write)
    facts = {**environment(), "bytes": len(data), "streams": streams, "sha256": digest(data)}
    header = json.dumps(facts).encode() + b"\n"
    return MAGIC + header + encoder.get_compressed().astype("<u4").tobytes()


def decompress(content: bytes, **options: Any) -> bytes:
    """The data that `compress` was given. Raises ValueError if it cannot be had on this machine."""
    if not content.startswith(MAGIC):
        raise ValueError("this is no file that compress.py wrote")
    header, _, body = content[len(MAGIC) :].partition(b"\n")
    facts = checked(header, len(body))
    streams, size = facts["streams"], facts["bytes"]
    steps = -(-size // streams)
    decoder = coding.queue.RangeDecoder(np.frombuffer(body, "<u4").astype(np.uint32))
    model, symbols = coding.model.Categorical(perfect=False), np.empty((steps, streams), np.uint8)

    def read(step: int, probabilities: Any) -> Tensor:
        try:
            found = decoder.decode(model, probabilities)
        except AssertionError as error:  # the coder's
            raise ValueError(f"its coded bytes are broken at step {step:,}") from error
        symbols[step] = found
        return torch.from_numpy(found).long()

    if size:
        walk(Learner(streams, **options), streams, steps, read)
    data = symbols.T.tobytes()[:size]
    if digest(data) != facts["sha256"]:
        raise ValueError("decoded other bytes than were written: the file or the computer differs")
    return data


def checked(header: bytes, length: int) -> dict[str, Any]:
    """The facts of a file, before any is believed. Raises ValueError.

    length: bytes of coded data
    """
    try:
        facts = files.parse_json(header)
    except ValueError as error:
        raise ValueError(f"its header is broken: {error}") from error
    kinds = {**dict.fromkeys((*environment(), "sha256"), str), "bytes": int, "streams": int}
    if not isinstance(facts, dict) or {n: type(facts.get(n)) for n in kinds} != kinds:
        raise ValueError("its header is broken: expected " + ", ".join(kinds))
    if other := {n: facts[n] for n, value in environment().items() if facts[n] != value}:
        raise ValueError(
            f"the same bits need the same software and processor: written with {other}"
        )
    if not 1 <= facts["streams"] <= STREAMS_MOST:
        raise ValueError(f"expected 1 to {STREAMS_MOST} streams, got {facts['streams']:,}")
    if length % 4:
        raise ValueError(f"expected whole words of 4 bytes behind the header, got {length:,} bytes")
    most = int((8 * length + 64) * MOST_OF_A_BIT) if length else 0
    if not 0 <= facts["bytes"] <= most:
        raise ValueError(
            f"{length:,} coded bytes hold at most {most:,}, got bytes: {facts['bytes']:,}"
        )
    return facts


# Layers that take about as long a byte.
LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "ramgru": ours,
    "gru": partial(nn.GRU, hidden_size=144, batch_first=True),
    "lstm": partial(nn.LSTM, hidden_size=176, batch_first=True),
}


def run(
    layer: str,
    rate: float = RATE,
    seed: int = 0,
    seconds: None = None,
    size: int = 100_000,
    source: Callable[[int], bytes] | None = None,
) -> dict[str, float]:
    """Compress the first bytes of Python's library; everything takes processor time once."""
    make, streams, data = LAYERS[layer], STREAMS, (source or library)(size)
    started = time.process_time()
    held = len(compress(data, streams, make=make, rate=rate, seed=seed))
    spent = time.process_time() - started
    learner = Learner(streams, make)
    return {
        "parameters": training.parameters(learner),
        "steps": len(list(chunks(-(-size // streams)))),
        "seconds": round(spent, 2),
        "loss": held,
        "bits a byte": 8 * held / size,
        "kB/s": size / spent / 1000,
    }


def environment() -> dict[str, str]:
    """All that the bits of a float depend on, the number of threads not among them."""
    return {
        "ramgru": ramgru.__version__,
        "torch": torch.__version__,
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }


def english(layer: str, rate: float = RATE, seed: int = 0, **options: Any) -> dict[str, float]:
    """Compress an English dictionary in place of the library."""
    return run(layer, rate, seed, **options, source=dictionary)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def library(size: int) -> bytes:
    """The first bytes of the sources of Python's own library, file after file in sorted order."""
    content = b""
    for path in training.library():
        if len(content) < size:
            content += path.read_bytes()
    return content[:size]


def dictionary(size: int) -> bytes:
    """The first bytes of an English dictionary, from Debian's package dict-gcide."""
    path = Path("/usr/share/dictd/gcide.dict.dz")
    if not path.exists():
        sys.exit(f"{path}: not found; apt-get install dict-gcide")
    with gzip.open(path) as file:
        return file.read(size)


def demonstration(size: int, streams: int) -> None:
    """Compress some of Python's library, decompress it in another process, and compare."""
    data = library(size)
    with tempfile.TemporaryDirectory() as folder:
        path, packed = Path(folder, "library.py"), Path(folder, "library.py.ramgru")
        path.write_bytes(data)
        command = [sys.executable, __file__, str(path), f"--streams={streams}"]
        subprocess.run(command, check=True)
        path.unlink()
        threads = 1 if torch.get_num_threads() > 1 else 2
        subprocess.run([sys.executable, __file__, "-d", packed, f"--threads={threads}"], check=True)
        print("the same bytes again:", "yes" if path.read_bytes() == data else "no")
        sizes = {
            "this compressor": packed.stat().st_size,
            "xz -9e": len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)),
            "bzip2": len(bz2.compress(data)),
        }
    for name, held in sizes.items():
        print(f"{name:16} {held:9,} bytes, {8 * held / len(data):.3f} bits a byte")


def main() -> None:
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(description=lines[0])
    parser.add_argument("file", nargs="?", type=Path, help="none: a demonstration")
    parser.add_argument("-d", "--decompress", action="store_true")
    parser.add_argument("-o", "--out", type=Path, help="the file to write")
    parser.add_argument(
        "--streams", type=int, default=4, help="parts read side by side (default 4)"
    )
    parser.add_argument("--threads", type=int, default=None, help="of both sides; any number fits")
    parser.add_argument("--size", type=int, default=60_000, help="bytes of the demonstration")
    options = parser.parse_args()
    if not 1 <= options.streams <= STREAMS_MOST:
        parser.error(f"--streams: expected 1 to {STREAMS_MOST}, got {options.streams}")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.file is None:
        return demonstration(options.size, options.streams)
    name = options.file.name
    made_of = name.removesuffix(".ramgru") if options.decompress else f"{name}.ramgru"
    out = options.out or options.file.with_name(made_of)
    if out == options.file:
        parser.error(f"--out: {name} has no .ramgru to take away, so name the file to write")
    if options.out is None and out.exists():
        parser.error(f"{out} exists; -o {out} overwrites it")
    started = time.perf_counter()
    try:
        with signals():
            given = options.file.read_bytes()
            made = decompress(given) if options.decompress else compress(given, options.streams)
            files.write(out, made)
    except (OSError, ValueError, RamgruError) as error:
        sys.exit(f"{options.file}: {error}")
    except KeyboardInterrupt as error:
        print("interrupted; nothing was written, the same command begins again", file=sys.stderr)
        sys.exit(128 + getattr(error, "signal", 2))
    size, seconds = max(len(given), len(made)), time.perf_counter() - started
    print(f"{len(given):,} -> {len(made):,} bytes, {size / seconds / 1000:.1f} kB/s")


if __name__ == "__main__":
    main()
