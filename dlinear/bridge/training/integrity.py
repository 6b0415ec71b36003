"""A content hash inside a zip archive, so that a damaged checkpoint is refused before anything is read of it.

torch writes zip archives and ignores their check sums on reading. `seal` makes sha256 of all bytes before it
the archive's comment, which torch's reader skips. Archives of earlier versions have no comment and are judged
by the check sums (CRC-32) of all their entries.
"""

from __future__ import annotations

import hashlib
import io
import zipfile

MARK = b"dlinear sha256 "
_COMMENT = len(MARK) + 64  # its bytes
_END, _SIGNATURE = 22, b"PK\x05\x06"  # length and first bytes of the record that ends an archive


def seal(archive: memoryview) -> tuple[memoryview, bytes]:
    """The two parts of the sealed archive: all but its last field, and that field with the comment.

    Args:
        archive: a zip file without a comment, as `torch.save` writes it.
    """
    assert archive[-_END : -_END + 4].tobytes() == _SIGNATURE, "torch.save writes an archive, no comment"
    body, length = archive[:-2], _COMMENT.to_bytes(2, "little")  # the last field is the comment's length
    digest = hashlib.sha256(body)
    digest.update(length)
    return body, length + MARK + digest.hexdigest().encode()


def fault(data: bytes) -> str | None:
    """What is wrong with the bytes of an archive, in a few words; None if it is as it was written."""
    comment = data[-_COMMENT:]
    if comment.startswith(MARK):
        digest = hashlib.sha256(memoryview(data)[:-_COMMENT]).hexdigest()
        return None if comment == MARK + digest.encode() else "its sha256 is not the one written with it"
    if not data[-_END:].startswith(_SIGNATURE):
        return "its end is not that of an archive"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if min(entry.header_offset for entry in archive.infolist()):
                return "there is something before the archive"
            wrong = archive.testzip()
    except Exception as error:  # the parser raises nearly anything on damaged bytes
        return f"{type(error).__name__}: no archive"
    return None if wrong is None else f"the check sum of {wrong!r:.60} is wrong"
