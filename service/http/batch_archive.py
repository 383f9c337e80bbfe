"""What an archive of a batch's files holds: first a list of them, then the results that there are."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from service.http.file_view import file_view
from service.http.packing import Packed, safe_names
from store.job import Job, JobFile

LISTING = "results.json"


def packed_files(job: Job, files: Sequence[JobFile], about: Mapping[str, Any]) -> list[Packed]:
    """The list, which begins with `about`, and each result under a name that is safe to unpack: `file` in the list."""
    done = [file for file in files if file.result_key is not None and file.result is not None]
    facts = [file.result or {} for file in done]
    names = safe_names([LISTING, *(file.name for file in done)], [".json", *(one["extension"] for one in facts)])[1:]
    named = {file.number: name for file, name in zip(done, names, strict=True)}
    listed = [
        file_view(job, file, "").model_dump(mode="json", exclude={"result_link", "report_link"})
        | {"file": named.get(file.number)}
        for file in files
    ]
    listing = json.dumps({**about, "files": listed}, indent=1).encode()
    return [
        Packed(LISTING, len(listing), hashlib.sha256(listing).hexdigest(), data=listing),
        *(
            Packed(name, one["bytes"], one["sha256"], key=file.result_key)
            for file, name, one in zip(done, names, facts, strict=True)
        ),
    ]
