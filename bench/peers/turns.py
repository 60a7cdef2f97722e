"""A peer program in Python that stays and answers lines as turns.mjs says."""
import json
import sys
import time


def turn_of(run, seconds):
    times, end = [], time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        run()
        now = time.perf_counter()
        times.append(now - start)
        if now >= end:
            return times[1:] if len(times) > 1 else times


def answer_turns(name, version, prepare):
    """Answers until the input ends. `prepare(case)` gives a function that runs the case, and a number to compare with ours; None where the
    program lacks the case."""
    print(json.dumps(dict(name=name, version=version)), flush=True)
    of = run = check = None
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if of != asked["case"]:
                of, run = asked["case"], None
                run, check = prepare(of) or (None, None)
                check = None if check != check else check  # JSON has no NaN
            answer = dict(times=turn_of(run, asked["seconds"]), check=check) if run else dict(absent="not among its cases")
        except Exception as error:
            answer = dict(absent=str(error).split("\n")[0])
        print(json.dumps(answer), flush=True)
