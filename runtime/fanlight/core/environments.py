"""Runtime environments: what a worker must be given before it may run a task.

A client names an environment by a key (a hash of its description) before it submits work for it.
The core never reads the description: it hands it to the workers of that environment, which belong to
it for life, so that nothing of it can leak into other work.

::

    DEFINED → PREPARING → READY          PREPARING → FAILED: it could not be set up, or not in time
                  ↑ ↓       ↓            PREPARING → DEFINED: nobody waits for it any more
               DEFINED    FAILED ──→ PREPARING or READY: tried again, for work that comes later

An environment that needs no preparation (variables, directories) is READY from the start. It can
still fail: when a worker finds that it cannot be entered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanlight import messages as m
from fanlight.core import model
from fanlight.core.effects import (
    CancelPreparation,
    EnvironmentPrepared,
    PrepareEnvironment,
    WorkerExited,
)
from fanlight.core.model import FAILED as TASK_FAILED
from fanlight.core.model import NEW, Task, Worker

if TYPE_CHECKING:
    from fanlight.core.machine import Core

E_DEFINED, E_PREPARING, E_READY, E_FAILED = range(4)
ENVIRONMENT_STATES = ("DEFINED", "PREPARING", "READY", "FAILED")
ENVIRONMENT_MOVES: dict[int, frozenset[int]] = {
    NEW: frozenset({E_DEFINED}),
    E_DEFINED: frozenset({E_PREPARING, E_READY}),
    E_PREPARING: frozenset({E_READY, E_FAILED, E_DEFINED}),
    E_READY: frozenset({E_FAILED}),
    E_FAILED: frozenset({E_PREPARING, E_READY}),
}
# Work that is submitted sooner after a failure shares it; later work is worth another attempt (the
# network may be back), and must not be, for each of a thousand tasks at once.
RETRY_SECONDS = 5.0
DEATHS = 3  # of workers that entered it, in a row, that are no accident


class Environment:
    """One environment: what it is, how far it is, and which tasks wait for it."""

    __slots__ = (
        "deadline", "deaths", "eager", "failed", "failure", "key", "message", "number", "state", "waiting",
    )  # fmt: skip

    def __init__(self, message: m.DefineEnvironment) -> None:
        self.key = message.key
        self.message = message
        self.state = NEW
        self.waiting: dict[bytes, Task] = {}  # ready tasks and constructors, oldest first
        self.number = 0  # of the preparation under way, 0 if there is none
        self.deadline = 0.0  # when it is given up, 0 for never
        self.eager = False  # goes on though no task waits for it
        self.deaths = 0  # of workers that were entering it, since one succeeded
        self.failure = ""
        self.failed = 0.0  # when


class Environments:
    def __init__(self, core: Core) -> None:
        self.core = core
        self.table: dict[str, Environment] = {}
        self.preparing: dict[int, Environment] = {}  # by number of the preparation
        self._made = 0

    def move(self, env: Environment, new: int, cause: str) -> None:
        old, key = env.state, env.key.encode()
        if new not in ENVIRONMENT_MOVES[old]:
            raise self.core.story.illegal(key, ENVIRONMENT_STATES, old, new, cause)
        self.core.story.note((key, ENVIRONMENT_STATES, old, new, cause))
        env.state = new

    # --- definition --------------------------------------------------------------------------

    def define(self, _peer: int, message: m.DefineEnvironment) -> None:
        """A client will submit work for this environment; the second one to say so says the same."""
        env = self.table.get(message.key)
        if env is None:
            env = self.table[message.key] = Environment(message)
            self.move(env, E_DEFINED, "defined")
            if not message.prepare:
                self.move(env, E_READY, "needs no preparation")
        if message.eager and env.state == E_DEFINED:
            env.eager = True
            self._prepare(env, "asked for ahead of work")

    def _prepare(self, env: Environment, cause: str) -> None:
        if not env.message.prepare:
            self.move(env, E_READY, cause)
            return
        self.move(env, E_PREPARING, cause)
        self._made += 1
        env.number = self._made
        self.preparing[env.number] = env
        seconds = env.message.timeout
        env.deadline = self.core.now + seconds if seconds > 0 else 0.0
        effect = PrepareEnvironment(env.number, env.key, env.message.description)
        self.core.effects.actions.append(effect)

    # --- tasks that wait ---------------------------------------------------------------------

    def ready(self, key: str) -> bool:
        return not key or self.table[key].state == E_READY

    def hold(self, task: Task) -> bool:
        """Whether a task that could run has to wait for its environment (or has failed with it).

        Called by the scheduler before it puts a task in its queue.
        """
        env = self.table[task.spec.spec.env]
        if env.state == E_FAILED:
            if self.core.now - env.failed < RETRY_SECONDS:
                env.waiting[task.id] = task
                self._fail(task, env)
                return True
            self._prepare(env, "tried again")
        elif env.state == E_DEFINED:
            self._prepare(env, "a task needs it")
        if env.state == E_READY:
            return False
        env.waiting[task.id] = task
        return True

    def withdraw(self, task: Task) -> bool:
        """Take a cancelled task out of the waiting ones; whether it was there."""
        key = task.spec.spec.env
        env = self.table.get(key)
        if env is None or env.waiting.pop(task.id, None) is None:
            return False
        if env.state == E_PREPARING and not env.waiting and not env.eager:
            self._stop(env)
            self.move(env, E_DEFINED, "nobody waits for it any more")
        return True

    def _stop(self, env: Environment) -> None:
        """The preparation is of no use any more; its answer will find nobody."""
        self.core.effects.actions.append(CancelPreparation(env.number))
        self._forget(env)

    def _forget(self, env: Environment) -> None:
        del self.preparing[env.number]
        env.number = 0
        env.deadline = 0.0
        env.eager = False

    # --- answers -----------------------------------------------------------------------------

    def prepared(self, _peer: int, x: EnvironmentPrepared) -> None:
        """The shell set an environment up, or failed to."""
        env = self.preparing.get(x.number)
        if env is None:
            return  # it was cancelled meanwhile
        self._forget(env)
        if x.problem:
            tail = f"\n{x.log}" if x.log else ""
            self._broke(env, f"{x.problem}{tail}")
            return
        self.move(env, E_READY, "prepared")
        waiting, env.waiting = env.waiting, {}
        for task in waiting.values():
            self.core.scheduler.stand(task)

    def tick(self) -> None:
        """Give up preparations that take longer than they may."""
        now = self.core.now
        for env in [e for e in self.preparing.values() if e.deadline and now > e.deadline]:
            self._stop(env)
            self._broke(env, f"It took longer than {env.message.timeout:g} s.")
        if self.table:
            for worker in [w for w in self.core.workers.values() if self._hangs(w)]:
                seconds = self.table[worker.env].message.timeout
                self.entered(
                    worker,
                    f"A worker (pid {worker.pid}) was still entering it after {seconds:g} s: perhaps "
                    "its worker_process_setup_hook waits for something.",
                )

    def _hangs(self, worker: Worker) -> bool:
        """Whether a process takes too long to enter its environment."""
        if worker.entered or not worker.peer or worker.retiring or worker.state == model.W_DEAD:
            return False
        seconds = self.table[worker.env].message.timeout
        return 0 < seconds < self.core.now - worker.since

    def slept(self, seconds: float) -> None:
        """That time does not count: preparations may go on for as much longer."""
        for env in self.table.values():
            env.failed += seconds
            if env.deadline:
                env.deadline += seconds

    def entered(self, worker: Worker, problem: str) -> None:
        """A worker is in its environment. Or it cannot enter it: its tasks fail, and those behind."""
        core = self.core
        env = self.table.get(worker.env)
        if env is None or worker.entered:
            raise model.ProtocolViolation("this worker has no environment to enter")
        if not problem:
            worker.entered = True
            env.deaths = 0
            return
        if env.state == E_READY:
            self._broke(env, problem)
        actor = worker.actor
        if actor is not None:
            core.actors.environment_failed(actor, self._sentence(env))
            return
        if worker.queue:  # all of it: nothing was started
            core.scheduler.give_back(worker, [task.id for task in worker.queue])
        core.scheduler.retire(worker, "its runtime environment cannot be entered")

    def died(self, worker: Worker, x: WorkerExited) -> None:
        """A process ended while it entered its environment; one may be bad luck (its tasks are not
        to blame and stay), but not one after the other."""
        env = self.table[worker.env]
        env.deaths += 1
        if env.deaths >= DEATHS and env.state == E_READY:
            tail = f"\n{x.log}" if x.log else ""
            self._broke(
                env, f"Workers that entered it died {DEATHS} times in a row: {x.how}.{tail}"
            )
            env.deaths = 0

    def _broke(self, env: Environment, text: str) -> None:
        env.failure = text
        env.failed = self.core.now
        self.move(env, E_FAILED, text.split("\n")[0])
        for task in [*env.waiting.values(), *self.core.scheduler.standing(env.key)]:
            if task.id in self.core.tasks.table:  # one may have ended with another's actor
                self._fail(task, env)

    def _fail(self, task: Task, env: Environment) -> None:
        """The task cannot run, and would not at a second attempt."""
        core, sentence = self.core, self._sentence(env)
        if task.cancel:
            core.scheduler.withdraw(task)
            core.tasks.fail_cancelled(task)
            return
        if task.actor is not None:
            core.actors.environment_failed(task.actor, sentence)
            return
        core.scheduler.withdraw(task)
        failure = core.failure("env_setup", f"{task.name} was not run. {sentence}", task=task)
        core.tasks.fail(task, failure, TASK_FAILED, "its runtime environment failed")

    def _sentence(self, env: Environment) -> str:
        label = env.message.label
        return f"The runtime environment ({label}) could not be set up. {env.failure}"

    def why(self, key: str) -> str:
        """What a task of this environment waits for; "" when the environment is ready."""
        if self.ready(key):
            return ""
        label = self.table[key].message.label
        return f"It waits for its runtime environment ({label}), which is being set up."
