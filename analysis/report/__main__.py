"""python -m analysis.report --checkpoint NAME|FILE --dataset NAME --data DIR --out DIR"""

import sys

from analysis.report.command import main

if __name__ == "__main__":
    sys.exit(main())
