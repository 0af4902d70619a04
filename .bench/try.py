import argparse
from benchmarks import pacing
pacing.run(argparse.Namespace(answer_seconds=.2, simulated_jobs=500, sigma=.3, intervals=[5,10,30,60]))
