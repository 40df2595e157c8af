"""Who runs what, where and when: fairness, work handed out ahead, the pool of processes, GPUs."""

from __future__ import annotations

import msgspec
import pytest

from fanlight import config
from fanlight import messages as m
from fanlight.core import model
from fanlight.core.effects import SpawnWorker
from fanlight.testing.builders import actor_spec, method_spec, task_spec
from fanlight.testing.clients import SimulatedClient
from fanlight.testing.simulation import SimulatedNode
from fanlight.testing.workers import SimulatedWorker

QUICK = 0.0001


def names(node: SimulatedNode) -> list[str]:
    """What runs now."""
    return sorted(w.specs[e.spec].name for w in node.busy() for e in w.running.values())


def ahead_of(node: SimulatedNode, count: int, duration: float = QUICK) -> SimulatedWorker:
    """One worker, after the first of ``count`` tasks took ``duration``."""
    driver = node.driver()
    for _ in range(count):
        driver.submit(task_spec("f"))
    [worker] = node.busy()
    worker.finish(duration=duration)
    return worker


# --- fairness ------------------------------------------------------------------------------------


def test_two_clients_take_turns() -> None:
    node = SimulatedNode(1)
    first, second = node.driver(), node.driver()
    for _ in range(5):
        first.submit(task_spec("first"))
    for _ in range(5):
        second.submit(task_spec("second"))
    order = []
    while node.busy():
        order += names(node)
        node.busy()[0].finish()
    assert order.count("first") == order.count("second") == 5
    assert order[1:9] in (["first", "second"] * 4, ["second", "first"] * 4)


def test_shapes_of_one_client_take_turns() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    for _ in range(4):
        driver.submit(task_spec("thin", cpus=0.75))
    for _ in range(4):
        driver.submit(task_spec("fat"))
    order = []
    while node.busy():
        order += names(node)
        node.busy()[0].finish()
    assert order[1:7] in (["thin", "fat"] * 3, ["fat", "thin"] * 3)


def test_what_cannot_run_now_does_not_hold_up_the_rest() -> None:
    node = SimulatedNode(2, 1)
    driver = node.driver()
    driver.submit(task_spec("gpu", gpus=1))
    driver.submit(task_spec("next gpu", gpus=1))
    driver.submit(task_spec("never", cpus=3))
    driver.submit(task_spec("plain"))
    assert names(node) == ["gpu", "plain"]


def test_tasks_start_in_the_order_of_submission() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    for i in range(4):
        driver.submit(task_spec(f"f{i}"))
    order = []
    while node.busy():
        order += names(node)
        node.busy()[0].finish()
    assert order == ["f0", "f1", "f2", "f3"]


# --- handed out ahead ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("duration", "depth"),
    [(1.0, 1), (config.PREFETCH_SECONDS, 1), (config.PREFETCH_SECONDS / 4, 5), (QUICK / 100, 64)],
)
def test_quick_tasks_are_handed_out_ahead(duration: float, depth: int) -> None:
    node = SimulatedNode(1)
    worker = ahead_of(node, 100, duration)
    assert len(worker.running) + len(worker.queue) == depth


def test_unknown_functions_are_not_handed_out_ahead() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    for _ in range(9):
        driver.submit(task_spec("f"))
    [worker] = node.busy()
    assert not worker.queue


def test_work_ahead_is_shared_among_workers() -> None:
    node = SimulatedNode(2)
    driver = node.driver()
    for _ in range(12):
        driver.submit(task_spec("f"))
    for worker in node.busy():
        worker.finish(duration=QUICK)
    counts = [len(w.running) + len(w.queue) for w in node.busy()]
    assert sum(counts) == 10
    assert max(counts) - min(counts) <= 1


def test_a_slow_task_gives_back_what_stands_behind_it() -> None:
    node = SimulatedNode(1)
    worker = ahead_of(node, 6)
    assert len(worker.queue) == 4
    node.advance(config.RECLAIM_SECONDS / 2)
    assert len(worker.queue) == 4
    node.advance(config.RECLAIM_SECONDS)
    assert not worker.queue
    node.advance(1.0)  # and gets nothing again while it runs
    assert not worker.queue


def test_a_task_that_waits_gives_back_what_stands_behind_it() -> None:
    node = SimulatedNode(1)
    worker = ahead_of(node, 6)
    worker.block()
    assert not worker.queue
    [other] = [w for w in node.busy() if w is not worker]
    assert other.running, "its CPU runs what it gave back"


def test_what_was_on_the_way_when_a_task_began_to_wait_comes_back_too() -> None:
    """The task may wait for the very one that was sent after it: a deadlock."""
    node = SimulatedNode(1)
    driver = node.driver()
    driver.submit(task_spec("f"))
    node.busy()[0].finish(duration=QUICK)
    [slow] = driver.submit(task_spec("slow", cpus=0))
    [wanted] = driver.submit(task_spec("f"), deps=[slow])
    driver.submit(task_spec("f"), pins=[wanted])
    waiter = node.runs("f")
    waiter.deaf = True
    node.runs("slow").finish()
    waiter.block()
    waiter.listen()
    node_tasks = {t.id: t for t in node.core.tasks.table.values()}
    task = node_tasks[wanted[:24]]
    assert task.state == model.RUNNING and task.worker.number != waiter.number


def test_given_back_after_the_task_before_it_was_reported() -> None:
    """The worker's reading thread gives back the task that the core believes to run already."""
    node = SimulatedNode(1)
    worker = ahead_of(node, 2 + 1)
    taken = worker.take_unstarted()
    worker.finish(duration=QUICK)
    worker.send(m.Returned(taken))
    node.settle()
    assert not node.core.tasks.table


@pytest.mark.parametrize("watched", [True, False])
def test_an_innocent_task_keeps_its_attempts_when_its_worker_dies(watched: bool) -> None:
    node = SimulatedNode(1)
    worker = ahead_of(node, 3)
    worker.watched = watched
    behind = [e.task for e in worker.queue]
    worker.crash()
    table = node.core.tasks.table
    assert behind and all(table[t].attempt == 0 for t in behind)
    # Never ahead again, unless it is known that another task was the one.
    assert all(table[t].solo is not watched for t in behind)


def test_the_task_that_began_last_is_blamed_for_a_crash() -> None:
    """Results wait for company, so the first task that was not reported need not be the one."""
    node = SimulatedNode(1)
    worker = ahead_of(node, 4)
    core = node.core
    first, second, *rest = core.workers[worker.number].queue
    assert rest
    worker.begun = second.id  # the first one is done; its report died with the process
    worker.crash()
    assert second.id not in core.tasks.table, "it had no attempt left"
    assert [t.attempt for t in (first, *rest)] == [0] * (1 + len(rest))
    assert all(t.id in core.tasks.table for t in (first, *rest))
    node.settle()
    assert not core.tasks.table


def test_nobody_is_blamed_when_no_task_had_begun() -> None:
    node = SimulatedNode(1)
    worker = ahead_of(node, 3)
    tasks = list(node.core.workers[worker.number].queue)
    worker.begun = b""
    worker.crash()
    assert [t.attempt for t in tasks] == [0] * len(tasks)
    node.settle()
    assert not node.core.tasks.table


@pytest.mark.parametrize("moved_on", [False, True])
def test_a_forced_cancel_hits_only_its_task(moved_on: bool) -> None:
    node = SimulatedNode(1)
    worker = ahead_of(node, 3)
    tasks = list(node.core.workers[worker.number].queue)
    if moved_on:  # its report is on the way, and the next one runs
        worker.begun = tasks[1].id
    node.post([(0, m.Cancel(tasks[0].id, True, False))])
    assert (worker.number in node.workers) is moved_on
    assert all(t.attempt == 0 for t in tasks)
    if not moved_on:
        assert tasks[0].state == model.CANCELLED
    node.settle()
    assert [t.state for t in tasks[1:]] == [model.FINISHED] * (len(tasks) - 1)


# --- waiting tasks -------------------------------------------------------------------------------


def test_a_task_that_waits_lends_its_cpu_and_takes_it_back_at_once() -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    driver.submit(task_spec("parent"))
    [parent] = node.busy()
    parent.submit(task_spec("child"))
    assert names(node) == ["parent"]
    parent.block()
    assert names(node) == ["child", "parent"]
    parent.unblock()
    assert node.core.pool.available["CPU"] == -config.UNITS, "a debt"
    driver.submit(task_spec("later"))
    parent.finish()
    assert names(node) == ["child"], "nothing starts until the debt is paid"
    node.busy()[0].finish()
    assert names(node) == ["later"]


def test_a_waiting_task_keeps_its_gpu() -> None:
    node = SimulatedNode(2, 1)
    driver = node.driver()
    driver.submit(task_spec("holder", gpus=1))
    driver.submit(task_spec("wants", gpus=1))
    node.busy()[0].block()
    assert names(node) == ["holder"]


# --- the pool ------------------------------------------------------------------------------------


def test_processes_are_started_as_needed_and_retired_when_idle() -> None:
    node = SimulatedNode(1, pool_size=1)
    driver = node.driver()
    for _ in range(3):
        driver.submit(task_spec("parent"))
        next(w for w in node.busy() if not w.blocked).block()
    node.settle()
    assert len(node.workers) > 1
    node.advance(config.IDLE_WORKER_SECONDS / 2)
    assert len(node.workers) > 1
    node.advance(config.IDLE_WORKER_SECONDS)
    assert len(node.workers) == 1
    driver.submit(task_spec("f"))
    assert names(node) == ["f"]


def test_a_retired_process_that_does_not_end_is_killed() -> None:
    node = SimulatedNode(1, pool_size=1)
    driver = node.driver()
    actor = driver.create_actor(actor_spec())
    node.settle()
    worker = next(w for w in node.workers.values() if w.actor)
    worker.deaf = True
    driver.drop(actor + b"\0" * 12)
    assert worker.number in node.workers
    node.advance(config.RETIRE_SECONDS + 1)
    assert worker.number not in node.workers


def test_failed_starts_are_repeated_after_a_pause_that_grows() -> None:
    node = SimulatedNode(1, pool_size=1, prompt=False)
    driver = node.driver()
    driver.submit(task_spec("f"))
    pauses = []
    for _ in range(9):
        node.answer_spawn(ok=False)
        assert not node.spawning
        pauses.append(node.core.scheduler.retry_at - node.now)
        node.advance(pauses[-1] * 0.9)
        assert not node.spawning
        node.advance(pauses[-1] * 0.2)
        assert node.spawning
    assert pauses == sorted(pauses) and pauses[0] < 1 < pauses[-1] < 10
    assert any("cannot fork" in text for text in driver.notices)
    node.answer_spawn()
    assert names(node) == ["f"]


def test_processes_that_never_start_do_not_break_the_node() -> None:
    node = SimulatedNode(1, pool_size=1, prompt=False, check=lambda core: None)
    node.driver().submit(task_spec("f"))
    for _ in range(1100):
        node.answer_spawn(ok=False)
        node.advance(10)
    assert node.spawning


def test_an_idle_process_that_died_gets_no_work() -> None:
    """Its connection ends some time before its end is known."""
    node = SimulatedNode(1, pool_size=1, prompt=False)
    driver = node.driver()
    node.settle()
    [worker] = node.workers.values()
    worker.disconnect()
    [ref] = driver.submit(task_spec("f"))
    worker.exited()
    node.settle()
    value = driver.values[ref]
    assert value is not None and value.kind == m.INLINE


def test_a_process_that_is_being_killed_gets_no_work() -> None:
    """It reports its task while the order to kill it is on the way."""
    node = SimulatedNode(1, pool_size=1, prompt=False)
    driver = node.driver()
    node.settle()
    [ref] = driver.submit(task_spec("f"))
    [worker] = node.busy()
    driver.cancel(ref, force=True)
    [other] = driver.submit(task_spec("g"))
    worker.finish()
    node.settle()
    value = driver.values[other]
    assert value is not None and value.kind == m.INLINE


def test_queues_of_workers_that_are_gone_are_forgotten() -> None:
    node = SimulatedNode(2)
    driver = node.driver()
    driver.submit(task_spec("parent"))
    [parent] = node.busy()
    for _ in range(3):
        parent.submit(task_spec("child", cpus=2))
    parent.crash()
    node.settle()
    assert {key[1] for key in node.core.scheduler.queues} <= node.core.clients.keys()


def test_no_more_processes_than_work_or_cpus() -> None:
    node = SimulatedNode(4, pool_size=2, prompt=False)
    driver = node.driver()
    for _ in range(50):
        driver.submit(task_spec("f"))
    assert len(node.spawning) == 4
    spawned = [a for e in node.effects for a in e.actions if isinstance(a, SpawnWorker)]
    assert len(spawned) == 4


# --- GPUs ----------------------------------------------------------------------------------------


def gpus_of(node: SimulatedNode) -> dict[str, list[int] | None]:
    return {w.specs[e.spec].name: e.gpus for w in node.busy() for e in w.running.values()}


def submit_gpu(driver: SimulatedClient, name: str, gpus: float) -> None:
    driver.submit(task_spec(name, cpus=0, gpus=gpus))


def test_fractions_share_one_gpu_and_whole_ones_stay_whole() -> None:
    node = SimulatedNode(1, 2)
    driver = node.driver()
    submit_gpu(driver, "half", 0.5)
    submit_gpu(driver, "third", 0.3)
    submit_gpu(driver, "whole", 1)
    used = gpus_of(node)
    assert used["half"] == used["third"]
    assert sorted([*(used["half"] or []), *(used["whole"] or [])]) == [0, 1]


def test_fractions_that_fit_on_no_single_gpu_wait() -> None:
    node = SimulatedNode(1, 2)
    driver = node.driver()
    submit_gpu(driver, "a", 0.6)
    submit_gpu(driver, "b", 0.6)
    submit_gpu(driver, "c", 0.6)
    assert set(gpus_of(node)) == {"a", "b"}
    submit_gpu(driver, "d", 0.4)
    assert set(gpus_of(node)) == {"a", "b", "d"}


def test_several_whole_gpus_are_different_ones() -> None:
    node = SimulatedNode(1, 4)
    driver = node.driver()
    submit_gpu(driver, "one", 1)
    submit_gpu(driver, "three", 3)
    used = gpus_of(node)
    assert sorted([*(used["one"] or []), *(used["three"] or [])]) == [0, 1, 2, 3]
    node.settle()
    assert node.core.pool.devices == [config.UNITS] * 4


def test_tasks_without_gpus_are_told_so() -> None:
    node = SimulatedNode(1, 1)
    node.driver().submit(task_spec("f"))
    assert gpus_of(node) == {"f": None}


def test_actors_are_given_up_when_no_process_starts_for_a_while() -> None:
    node = SimulatedNode(2, pool_size=1, prompt=False)
    driver = node.driver()
    node.answer_spawn()
    here = driver.create_actor(actor_spec("Here"))
    node.settle()
    [hold] = driver.submit(task_spec("hold"))  # takes the process that is left
    beyond = driver.create_actor(actor_spec("Beyond", 1))
    big = driver.create_actor(actor_spec("Big", 2))  # waits for CPUs, not for a process
    for _ in range(10):
        while node.spawning:
            node.answer_spawn(ok=False)
        node.advance(max(0.0, node.core.scheduler.retry_at - node.now))
    assert node.core.actors.table[beyond].state == model.A_DEAD
    [call] = driver.submit(method_spec("Beyond.f"), actor=beyond)
    value = driver.values[call]
    assert value is not None
    failure = msgspec.msgpack.decode(value.data, type=m.Failure)
    assert "could not be made: no process could be started" in failure.message
    assert "cannot fork" in failure.message and "1 actors are alive" in failure.message
    assert node.core.actors.table[here].state == model.A_ALIVE
    assert node.core.actors.table[big].state == model.A_PENDING_CREATION
    assert driver.values[hold] is None
    node.prompt = True
    node.settle()  # it goes on as soon as there is room
    assert driver.values[hold] is not None
    assert node.core.actors.table[big].state == model.A_ALIVE


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_cancelled_task_leaves_its_place_in_the_queue(newest_first: bool) -> None:
    node = SimulatedNode(1)
    driver = node.driver()
    refs = [driver.submit(task_spec("f"))[0] for _ in range(6)]
    for ref in [refs[5], refs[3], refs[1]] if newest_first else [refs[1], refs[3], refs[5]]:
        driver.cancel(ref)
    node.settle()
    kinds = [v.kind for v in map(driver.values.get, refs) if v is not None]
    assert kinds == [m.INLINE, m.FAILURE] * 3


@pytest.mark.parametrize("begun", [False, True])
def test_who_dies_before_it_begins_a_task_is_blamed_for_none(begun: bool) -> None:
    """What an idle process was given just as it died runs elsewhere, and nobody is told."""
    node = SimulatedNode(1)
    driver = node.driver()
    [ref] = driver.submit(task_spec("f", retries=1))
    [worker] = node.busy()
    worker.begun = worker.current if begun else b""
    worker.crash()
    assert any("while it ran the task f" in text for text in driver.notices) == begun
    assert any("is run again" in text for text in driver.notices) == begun
    node.settle()  # another one runs it
    assert driver.values[ref].kind == m.INLINE
