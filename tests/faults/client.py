"""A client that submits jobs, waits for them, cancels a few, and remembers all that it was told."""

import random
import threading
from collections import Counter
from typing import Any

from tests.faults.caller import Answer, Caller

_BATCH = 5


class _Stopped(Exception):
    """The load is over; what is not acknowledged by now is given up."""


class Client:
    def __init__(self, port: int, key: str, name: str, seed: int, *, parameters_size: int) -> None:
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.asked_to_cancel: set[str] = set()
        self.cancelled: set[str] = set()
        # What a job had come to when this client was first told that it is finished.
        self.finished: dict[str, tuple[str, str | None]] = {}
        self.troubles: Counter[str] = Counter()
        self.refusals: list[str] = []
        self.rounds = 0
        self._name = name
        self._size = parameters_size
        self._random = random.Random(f"{seed} {name}")
        self._caller = Caller(port, key, self._random, self._on_trouble)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self._stopping.set()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                batch = [self._submit() for _ in range(_BATCH)]
                if self._random.random() < 0.2:
                    self._cancel(self._random.choice(batch))
                # Each wait keeps an execution environment busy.
                while not self._look(batch[-1], wait_seconds=2):
                    pass
                self._look(batch[0], wait_seconds=0)
                self.rounds += 1
        except _Stopped:
            pass

    def _submit(self) -> str:
        text = f"{self._name} {len(self.acknowledged)} "
        parameters = {"text": text.ljust(self._size, "x")}
        attempts = self._random.choice((1, 3, 10, 10, 10))
        priority = self._random.randrange(10)
        job = {"job_type": "custom", "parameters": parameters, "max_attempts": attempts, "priority": priority}
        answer = self._expect(self._caller.insist("POST", "/v1/client/jobs", job), (201,))
        job_id: str = answer.json["id"]
        self.acknowledged[job_id] = parameters
        return job_id

    def _cancel(self, job_id: str) -> None:
        self.asked_to_cancel.add(job_id)
        answer = self._expect(self._caller.insist("POST", f"/v1/client/jobs/{job_id}/cancel"), (200, 409))
        if answer.status == 200:
            self.cancelled.add(job_id)

    def _look(self, job_id: str, wait_seconds: int) -> bool:
        path = f"/v1/client/jobs/{job_id}/result?wait={wait_seconds}"
        answer = self._expect(self._caller.insist("GET", path), (200, 425))
        if answer.status == 200:
            receipt = answer.json["receipt"]
            self.finished.setdefault(job_id, (answer.json["status"], receipt and receipt["id"]))
        elif self._stopping.is_set():
            raise _Stopped
        return answer.status == 200

    def _expect(self, answer: Answer, statuses: tuple[int, ...]) -> Answer:
        if answer.status not in statuses:
            self.refusals.append(f"{answer.status} {answer.json}")
            raise _Stopped
        return answer

    def _on_trouble(self, trouble: str) -> None:
        self.troubles[trouble] += 1
        if self._stopping.is_set():
            raise _Stopped
