"""python -m analysis.card --checkpoint FILE --data DIR"""

import sys

from analysis.card.measuring import main

if __name__ == "__main__":
    sys.exit(main())
