"""The interactive view of one input as a part of a page: an answer, the steps it came from, and the
cells they share.

live.js draws it; without scripts, the tables of the page hold the same answers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramgru.lab.show.html import escape

_HERE = Path(__file__).parent
SCRIPT = (_HERE / "live.js").read_text(encoding="utf-8")
CSS = (_HERE / "live.css").read_text(encoding="utf-8")

HOW = (
    "Point at an answer, tap it, or go from answer to answer with the arrow keys; Enter holds it. "
    "An arc leads to each step whose write is in the read, with the exact weight of that write."
)


@dataclass(frozen=True)
class Live:
    """story: the data, as `story.tell` makes it."""

    story: dict[str, Any]

    def html(self, name: str) -> str:
        # "<" may end the element early, whatever the data's text says.
        data = json.dumps(self.story, ensure_ascii=False, separators=(",", ":")).replace(
            "<", "\\u003c"
        )
        steps = f"{len(self.story['tokens']):,} steps, {len(self.story['steps']):,} answers"
        return f"""<div class="live" id="{name}">
<script type="application/json">{data}</script>
<noscript><p>This part needs JavaScript; the tables below hold the same answers.</p></noscript>
<p>{escape(HOW)}</p>
<div class="bar">
<div data-part="training">
<label for="{name}-moment"><span>Training: <span data-part="when"></span></span>
<input type="range" id="{name}-moment" data-part="moment" min="0" max="0" step="1"></label>
<button type="button" data-part="play">▶ Play</button>
</div>
<label for="{name}-head">Head <select id="{name}-head" data-part="head"></select></label>
</div>
<p data-part="score" aria-live="polite"></p>
<div class="stage" data-part="stage">
<div class="reading" data-part="reading" role="group" aria-label="The input: {steps}"></div>
<svg class="arcs" data-part="arcs" aria-hidden="true"></svg>
</div>
<p class="legend"><span><span class="asked">&nbsp;asked&nbsp;</span></span>
{self._legend()}<span data-part="axes"></span></p>
<figure><svg class="strip" data-part="strip" role="img" aria-labelledby="{name}-gate"></svg>
<figcaption id="{name}-gate" data-part="gate"></figcaption></figure>
<div class="both">
<div class="panel" data-part="panel" role="region" aria-label="The answer in detail"></div>
<figure class="memory"><canvas data-part="map" role="img"></canvas>
<figcaption><span data-part="cells"></span> <b>■</b> written so far, <b>○</b> read by the answer,
<b>✚</b> written by its source. <output data-part="cell"></output></figcaption></figure>
</div>
</div>"""

    def _legend(self) -> str:
        """What the marks of steps and answers mean, of those that this input has."""
        found = ["framed: a step in the read, darker with its weight"]
        if self.story["written"]:
            found.append("dotted frame: the step that holds the right answer")
        if self.story["numbers"]:
            name = escape(self.story["numbers"]["name"])
            found.append(f"<i class='told'>●</i> {name} as the model tells it")
            found.append("<i class='off'>▮</i> its error, at full height one spread or more")
        else:
            if "rival" in self.story:
                rival = escape(self.story["rival"]["name"])
                found.append(f"<i class='line'>line</i>: RAM-GRU right, {rival} wrong")
                found.append("<i class='double'>double</i>: the reverse")
            found.append("<i class='dotted'>dots</i>: wrong")
        return "".join(f"<span>{one}</span>\n" for one in found)
