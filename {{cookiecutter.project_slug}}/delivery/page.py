"""One HTML page that needs nothing from outside, and runs nothing."""

import html
from collections.abc import Iterable
from pathlib import Path
from string import Template

import mistune

FRAME = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #202124; max-width: 74rem; margin: 2rem auto;
 padding: 0 1.5rem; }
h2 { font-size: 1.6rem; margin: 0 0 .5rem; }
h3 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid #e0e0e0;
 vertical-align: top; }
th { color: #5f6368; font-weight: 600; }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; }
pre.output { white-space: pre; overflow-x: auto; border-left: 3px solid #e0e0e0;
 padding: .3rem .6rem; margin-top: .4rem; }
figure { display: inline-block; margin: .5rem 1rem .5rem 0; }
figure svg { max-width: 100%; height: auto; }
header { border-left: .5rem solid #f9ab00; background: #fef7e0; padding: 1rem 1.5rem .3rem; }
header.promote { border-color: #1e8e3e; background: #e6f4ea; }
header.block { border-color: #d93025; background: #fce8e6; }
.sides { table-layout: fixed; width: 100%; }
.sides td { padding: .4rem .6rem; width: 50%; }
.old { background: #fdecea; }
.new { background: #e6f4ea; }
img { max-width: 100%; }
</style>
</head>
<body>
$body
</body>
</html>
""")


def write(path: Path, title: str, blocks: Iterable[str]) -> None:
    """Write blocks of HTML as a page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FRAME.substitute(title=html.escape(title), body="\n".join(blocks)))


def from_markdown(text: str) -> str:
    """Markdown as HTML; HTML within it is shown, not obeyed."""
    return str(mistune.create_markdown(escape=True, plugins=["table"])(text))
