"""Any sequence of requests with and without an Idempotency-Key, against a plain model."""

from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api import CLIENT, OTHER_CLIENT, Answer, Api, let_pass
from tests.integration.keyed import HOUR_SECONDS, JOBS, count, is_replay, sweep
from tests.integration.machines import model_examples

# The spellings of one body are the same JSON.
BODIES = {
    "plain": ['{"job_type": "custom", "priority": 1}', '{"priority":1,"job_type":"custom"}'],
    "urgent": ['{"job_type": "custom", "priority": 9}'],
    "of no known type": ['{"job_type": "alchemy"}', '{"job_type":"alchemy"}\n'],
}


class Request(NamedTuple):
    principal: str
    key: str | None
    body: str
    spelling: int


class Hours(NamedTuple):
    number: int


class Sweep(NamedTuple): ...


Step = Request | Hours | Sweep
REQUESTS = st.builds(
    Request,
    st.sampled_from([CLIENT, OTHER_CLIENT]),
    st.sampled_from(["a", "b", None]),
    st.sampled_from(["plain", "plain", "urgent", "of no known type"]),
    st.integers(0, 1),
)
STEPS = st.lists(
    st.one_of(REQUESTS, REQUESTS, REQUESTS, st.builds(Hours, st.sampled_from([23, 1, 24])), st.builds(Sweep)),
    min_size=1,
    max_size=25,
)


class Kept(NamedTuple):
    body: str
    text: str
    until_hour: int


class Model:
    """What must come of each request."""

    def __init__(self) -> None:
        self.hour = 0
        self.jobs = 0
        self._kept: dict[tuple[str, str], Kept] = {}

    def judge(self, request: Request, answer: Answer) -> None:
        kept = self._kept.get((request.principal, request.key or ""))
        if kept is not None and kept.until_hour > self.hour:
            if kept.body == request.body:
                assert (answer.status, answer.text, is_replay(answer)) == (201, kept.text, True)
            else:
                assert (answer.status, answer.error) == (422, "IDEMPOTENCY_KEY_REUSED")
        elif request.body == "of no known type":
            assert (answer.status, answer.error) == (400, "INVALID_JOB_TYPE")
        else:
            assert (answer.status, is_replay(answer)) == (201, False)
            self.jobs += 1
            if request.key is not None:
                self._kept[request.principal, request.key] = Kept(request.body, answer.text, self.hour + 24)


def test_any_sequence_of_requests_is_answered_as_a_model_has_it(api: Api) -> None:
    examples = 0

    def take(step: Step, model: Model) -> None:
        if isinstance(step, Hours):
            let_pass(step.number * HOUR_SECONDS)
            model.hour += step.number
        elif isinstance(step, Sweep):
            sweep()
        else:
            spellings = BODIES[step.body]
            raw = spellings[step.spelling % len(spellings)]
            # The examples share the database, but no keys.
            headers = {} if step.key is None else {"idempotency-key": f"{examples}-{step.key}"}
            model.judge(step, api.as_(step.principal).post(JOBS, raw=raw, headers=headers))

    @settings(
        max_examples=model_examples(30),
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(STEPS)
    def run(steps: list[Step]) -> None:
        nonlocal examples
        examples += 1
        before, model = count("jobs"), Model()
        for step in steps:
            take(step, model)
        assert count("jobs") - before == model.jobs

    run()
