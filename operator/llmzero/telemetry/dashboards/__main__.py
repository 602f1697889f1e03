import sys
from pathlib import Path

from llmzero.telemetry.dashboards import main

main(Path(sys.argv[1]))
