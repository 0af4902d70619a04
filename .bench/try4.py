import argparse, json, sys
from benchmarks import landings
o=argparse.Namespace(rounds=3, megabytes=[int(x) for x in sys.argv[1].split(",")], scratch=None)
print(json.dumps(landings.run(o)))
