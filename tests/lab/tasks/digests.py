"""The digests by which generators are compared with those of other projects."""

import hashlib

from ramgru.lab.tasks import Batch


def digest(batch: Batch) -> str:
    content = batch.inputs.astype("<i8").tobytes() + batch.labels.astype("<i8").tobytes()
    return hashlib.sha256(content).hexdigest()[:16]
