"""The processes that the benchmark compares, and how it talks with them."""

import ctypes
import json
import os
import pathlib
import select
import signal
import subprocess
import sys

WORKERS = pathlib.Path(__file__).resolve().parent / "workers"

# Seconds until an answer must be there.
PATIENCE = 600
# What is compiled is compiled anew, so that the times to compile mean something.
CACHES = ["ONETRACE_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR"]
# Of Linux's `prctl`: the signal a process gets when its parent ends.
PR_SET_PDEATHSIG = 1

LABELS = {
    "onetrace": "onetrace",
    "jax": "JAX + Flax",
    "onetrace-off": "onetrace, no fission",
    "jax-axis": "JAX + Flax, batch axis",
    "onnxruntime": "onnxruntime",
    "candle": "candle",
    "burn": "burn",
}
# A million steps would take the others minutes.
WITH_LONG_LOOPS = ["onetrace", "jax"]


def commands(target):
    """Command and settings of each contestant; `target` is cargo's directory."""
    ours = [target / "release" / "onetrace-bench"]
    python = [sys.executable, "-E", "-s"]
    peers = target / "peers" / "release"
    return {
        "onetrace": (ours, {}),
        "jax": ([*python, WORKERS / "jax_worker.py"], {}),
        "onetrace-off": (ours, {"no_fission": True}),
        "jax-axis": ([*python, WORKERS / "jax_worker.py"], {"axis": True}),
        "onnxruntime": ([*python, WORKERS / "onnx_worker.py"], {}),
        "candle": ([peers / "candle"], {}),
        "burn": ([peers / "burn"], {}),
    }


def end_with_parent():
    """A process that is stopped would not notice that nobody asks any more."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Contestant:
    """A process that is started when it is first asked, and stopped when it is not its turn."""

    def __init__(self, name, command, settings):
        self.name, self.command, self.settings = name, command, settings
        self.process = None

    def ask(self, request):
        """The answer, a dictionary; it has `error` where there is no other."""
        if self.process is None:
            environment = {name: value for name, value in os.environ.items() if name not in CACHES}
            try:
                self.process = subprocess.Popen(
                    [str(word) for word in self.command],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                    preexec_fn=end_with_parent, env=environment,
                )
            except OSError as error:
                return {"error": f"it cannot be started: {error.strerror}"}
        # Threads of another contestant that wait for work, spinning, must not disturb this one.
        self.process.send_signal(signal.SIGCONT)
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
            if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
                self.close()
                return {"error": f"no answer within {PATIENCE} s"}
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self.process.wait()
            self.close()
            return {"error": f"the process ended with status {status}"}
        self.process.send_signal(signal.SIGSTOP)
        answer = json.loads(line)
        if "error" in answer:
            answer["error"] = answer["error"].partition("\n")[0]
        return answer

    def prepare(self, case):
        return self.ask({"prepare": case | self.settings})

    def run(self, count):
        """Seconds of each of `count` calls, or None where the process failed."""
        return self.ask({"run": count}).get("seconds")

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
