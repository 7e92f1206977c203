"""The section of how to do it all again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from plait.base import config
from plait.report.blocks import Facts, Section, Text
from plait.report.words import counted
from plait.study.report import Material, ReportSection


class Origin(ReportSection):
    """Versions, seeds, data hashes, the command and the study file."""

    subjects = ()
    place = 100

    def sections(self, material: Material) -> Iterator[Section]:
        results, evidence = material.results, material.evidence
        about: Mapping[str, Any] = results.about
        seeds = about.get("seeds") or sorted(set(results.runs["seed"].tolist()))
        data = dict(about.get("data", {}))
        message = f"{counted(len(seeds), 'seed')} on {counted(len(data) or len(evidence), 'data set')}"
        text = f"{message}, drawn and trained as told below, give these numbers again."
        section = Section("again", "Run it again", text)
        if about.get("command"):
            section.add(Text(str(about["command"]), code=True))
        pairs = [("study", f"{results.name}, identity {about.get('identity', '–')}")]
        pairs += [("seeds", ", ".join(map(str, seeds)))]
        pairs += [(f"data hash of {name}", str(digest)) for name, digest in data.items()]
        pairs += [(str(name), str(version)) for name, version in dict(about.get("versions", {})).items()]
        pairs += [(f"source, {key}", str(value)) for key, value in results.spec.source.items()]
        section.add(Facts(pairs))
        section.add(Text(config.to_yaml(results.spec.to_dict()), "Study file (YAML)", code=True))
        yield section
