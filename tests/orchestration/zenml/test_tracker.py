"""Steps that record in the run of ZenML's MLflow tracker, each in one of its own."""

import pytest

from tests.orchestration.running import Build, Zen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_run_of_zenml_s_tracker_is_attached_to(zen: Zen, document: Build, own_uri: str) -> None:
    """One run for the step, which ZenML ends."""
    request = document()
    request["tracking"] = {"experiment": "elsewhere"}
    found = zen(
        request,
        f"""
        @pipeline(enable_cache=False)
        def once():
            train_embedder.with_options(experiment_tracker="mlf")(request=request)

        with tracked("{own_uri}") as store:
            run = shown(once())
            model = last().steps["train_embedder"].outputs["model"][0].load()
            runs = [[one.info.run_id, one.info.status, one.data.params.get("max_steps")] for one in recorded(store)]
            out(run=run, runs=runs, recorded=model.result["run_id"], left=os.environ.get("MLFLOW_RUN_ID"))
        """,
    )
    assert found["run"]["status"] == "completed"
    ((run_id, status, max_steps),) = found["runs"]
    assert (status, max_steps, found["recorded"], found["left"]) == ("FINISHED", "4", run_id, None)


def test_a_mapped_step_has_a_run_for_each_part_and_a_failed_one_fails(zen: Zen, document: Build, own_uri: str) -> None:
    """Three parts have a run each below that of the tracker, and the one that is refused is FAILED there.

    The parts are threads here, and ZenML takes MLflow's address away from all of them when the first has ended. Its own
    work after the others fails by that then; ours is recorded where it belongs.
    """
    request = document()
    request["tracking"] = {"experiment": "elsewhere"}
    found = zen(
        request,
        f"""
        from zenml import step

        @step
        def requests(request: str) -> list[str]:
            return [request_with(request, seed=1), request_with(request, seed=2), "loss: none"]

        @pipeline(enable_cache=False, dynamic=True)
        def many():
            train_embedder.with_options(experiment_tracker="mlf").map(request=requests(request=request))

        with tracked("{own_uri}") as store:
            try:
                many()
            except Exception as error:
                out(error=str(error))
            below = [one for one in recorded(store) if "mlflow.parentRunId" in one.data.tags]
            out(run=shown(last()), below=[[one.info.status, one.data.params.get("seed")] for one in below])
        """,
    )
    assert found["run"]["status"] == "failed"
    assert found["run"]["steps"]["map:train_embedder:2"] == "failed"
    assert sorted(found["below"], key=str) == [["FAILED", None], ["FINISHED", "1"], ["FINISHED", "2"]]
