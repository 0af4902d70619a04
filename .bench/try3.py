import argparse, json, sys
from benchmarks import delay
o=argparse.Namespace(answer_seconds=.2, interval=5.0, jobs=20, job_seconds=20., sigma=.3, intervals=[5.,10.], ramp=5., contestants=["ours","dbt-cloud","http","fivetran"], limit_jobs=30, per_minute=60, limit_seconds=60.)
if sys.argv[1]=="b": print(delay.run_pace(o))
else: print(delay.run_limit(o))
