import argparse, json, sys
from benchmarks import scale
from benchmarks.contestants import CONTESTANTS
o=argparse.Namespace(answer_seconds=.2, sizes=[int(sys.argv[1])], interval=5.0, seconds=float(sys.argv[2]), contestants=sys.argv[3].split(","))
r=scale.run(o)
for l in r["lines"]: print(l)
