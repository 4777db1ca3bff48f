"""A contestant of the benchmark: answers requests, one JSON object on each line.

| request | answer |
|---|---|
| `{"prepare": case}` | `{"compile_s": ..}`, when the results are in `case["outputs"]` |
| `{"run": n}` | `{"seconds": [..]}`, the time of each of `n` calls |

`{"unsupported": reason}` answers a case that the contestant has no way to compute.
"""

import json
import os
import sys
import time


class Unsupported(Exception):
    """The contestant has no way to compute the case."""


def serve(prepare):
    """Answers requests until there are no more.

    `prepare(case)` writes the results of the case and returns a dictionary: the answer, and under
    `call` a function that computes the results and waits for them.
    """
    # What libraries print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    call = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "prepare" in request:
                call = None  # Its memory is free before the next case takes some.
                answer = prepare(request["prepare"])
                call = answer.pop("call")
            else:
                answer = {"seconds": [timed(call) for _ in range(request["run"])]}
        except Unsupported as reason:
            answer = {"unsupported": str(reason)}
        except Exception as error:  # Whatever it is, the driver says it and goes on.
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
