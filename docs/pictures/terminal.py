"""The pictures of terminals in the pages: what real commands print, drawn by Chromium.

    python docs/pictures/terminal.py

at the root of the repository, after `make demo`, with Chromium and the commands of the environment on the PATH.
"""

import html
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

REQUEST = "pipelines/requests/docstrings_minilm.yaml"
COMPILE = "python -m pipelines.kubeflow_retrain.pipeline"
PICTURES = {
    "kubeflow": (
        f"sed s/learning_rate/learning_rte/ {REQUEST} > build/mistake.yaml",
        f"{COMPILE} build/mistake.yaml build/retrain.yaml 2>&1 | tail -1",
        f"{COMPILE} \\\n    {REQUEST} build/retrain.yaml",
        f"embedstep schedule kubeflow {REQUEST} \\\n    --pipeline build/retrain.yaml --dry-run",
    ),
    "kubernetes": (
        f"embedstep schedule kubernetes {REQUEST} --timezone Europe/Berlin \\\n"
        "    --image embedstep:0.1.0 --claim shared:/shared --output /shared/docs > build/docs.yaml",
        "head -5 build/docs.yaml",
        "sed -n '/^kind: CronJob/,/- type: DisruptionTarget/p' build/docs.yaml",
    ),
}  # fmt: skip
STYLE = "font: 15px/1.4 monospace; white-space: pre-wrap; margin: 16px; color: #1f2328; background: white"
COLUMNS, LINE = 102, 21


def printed(command: str) -> str:
    """Run a command, and return what it prints."""
    return subprocess.run(command, shell=True, stdout=subprocess.PIPE, text=True, check=True).stdout


def draw(commands: tuple[str, ...], picture: Path) -> None:
    """Run commands one after the other, and draw what they print below each."""
    shown = [(command, printed(command)) for command in commands]
    parts = [f"<b>$ {html.escape(command)}</b>\n{html.escape(out)}" for command, out in shown]
    lines = [line for command, out in shown for line in f"$ {command}\n{out}".splitlines()]
    height = 32 + LINE * sum(1 + (len(line) - 1) // COLUMNS if line else 1 for line in lines)
    with TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(f'<body style="margin: 0"><pre style="{STYLE}">{"".join(parts)}</pre>', encoding="utf-8")
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size=960,{height}"]
        subprocess.run(["chromium", *options, f"--screenshot={picture}", page.as_uri()], check=True)


if __name__ == "__main__":
    for name, commands in PICTURES.items():
        draw(commands, Path(__file__).with_name(f"{name}.png"))
