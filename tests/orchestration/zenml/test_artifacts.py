"""The steps on a real ZenML store, in the cases that others have reported as bugs of such steps."""

import pytest

from tests.orchestration.running import Build, Zen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_two_steps_of_one_configuration_have_a_model_each_and_are_cached_together(zen: Zen, document: Build) -> None:
    """The first run trains both, and neither takes the place of the other."""
    found = zen(
        document(),
        """
        from sentence_transformers import SentenceTransformer

        def both(train):
            train(request=request, id="left")
            train(request=request, id="right")

        @pipeline
        def twice():
            both(train_embedder)

        @pipeline
        def cached():
            both(train_embedder.with_options(enable_cache=True))

        def kept():
            return {name: step.outputs["model"][0] for name, step in last().steps.items()}

        def length(model):
            return len(SentenceTransformer(os.fspath(model.load()), device="cpu").encode("a text"))

        first = shown(twice())
        uris = [model.uri for model in kept().values()]
        out(first=first, lengths={name: length(model) for name, model in kept().items()}, uris=uris)
        out(second=shown(cached()), again={name: length(model) for name, model in kept().items()},
            new=[model.uri for model in kept().values() if model.uri not in uris])
        """,
    )
    assert found["first"] == {"status": "completed", "steps": {"left": "completed", "right": "completed"}}
    assert found["lengths"] == {"left": 32, "right": 32}
    assert len(set(found["uris"])) == 2
    assert found["second"] == {"status": "completed", "steps": {"left": "cached", "right": "cached"}}
    assert (found["again"], found["new"]) == ({"left": 32, "right": 32}, [])


def test_a_store_that_is_no_folder_keeps_the_rows_and_a_model_that_can_be_used(zen: Zen, document: Build) -> None:
    """What the steps return goes through the store, and not by a path of this machine."""
    found = zen(
        document(),
        """
        from sentence_transformers import SentenceTransformer
        from tests.orchestration.memory_store import FILES
        client = Client()
        client.create_flavor("tests.orchestration.memory_store.MemoryStoreFlavor", "artifact_store")
        client.create_stack_component("cloud", "memory", "artifact_store", {"path": "memory://bucket/zenml"})
        client.create_stack("cloud", {"orchestrator": "default", "artifact_store": "cloud"})
        client.activate_stack("cloud")

        @pipeline
        def retrain():
            train_rows, eval_rows, prepared = prepare_data(request=request)
            train, evaluate = (one.with_options(enable_cache=True) for one in (train_embedder, evaluate_embedder))
            model, _, _, _ = train(request=request, train_data=train_rows, eval_data=eval_rows, prepared=prepared)
            evaluate(request=request, model=model, eval_data=eval_rows)

        try:
            runs = [shown(retrain()) for _ in range(2)]
            kept = last().steps["train_embedder"].outputs["model"][0]
            model = kept.load()
            vector = SentenceTransformer(os.fspath(model), device="cpu").encode("a text")
            scores = last().steps["evaluate_embedder"].outputs["scores"][0].load()
        finally:
            client.activate_stack("default")
        there = [path for path in FILES.find("memory://bucket/zenml") if path.endswith("model.safetensors")]
        out(runs=runs, uri=kept.uri.partition("bucket")[0], there=len(there), dimension=len(vector),
            status=model.status, scored="docs_cosine_ndcg@10" in json.dumps(scores))
        """,
    )
    first, second = found["runs"]
    assert first == {
        "status": "completed",
        "steps": {"prepare_data": "completed", "train_embedder": "completed", "evaluate_embedder": "completed"},
    }
    assert second["steps"] == {"prepare_data": "completed", "train_embedder": "cached", "evaluate_embedder": "cached"}
    assert (found["uri"], found["there"], found["dimension"], found["status"]) == ("memory://", 1, 32, "trained")
    assert found["scored"] is True


def test_a_field_more_than_there_is_is_refused_by_its_name_and_not_cut(zen: Zen, document: Build) -> None:
    """A value of a subclass was cut to the fields of its base."""
    found = zen(
        document(),
        """
        from embedstep.orchestration.zenml import TrainingArguments

        class More(TrainingArguments):
            temperature: float = 0.5

        def error_of(request, **given):
            @pipeline(enable_cache=False)
            def once():
                train_embedder(request=request, **given)

            try:
                once()
            except Exception as error:
                return str(error)

        def with_loss(**loss):
            document = json.loads(request_with(request))
            return json.dumps({**document, "loss": {"kind": "multiple_negatives_ranking", **loss}})

        before = Client().list_pipeline_runs(size=1).total
        out(subclass=error_of(request, arguments=More(max_steps=1)))
        out(ran=Client().list_pipeline_runs(size=1).total - before)
        for loss in ({"softness": 0.5}, {"options": {"sharpness": 0.5}}, {"kind": "my_losses.Softer"}):
            error_of(with_loss(**loss))
            print("STATUS " + shown(last())["status"])
        """,
    )
    assert (found["subclass"], found["ran"]) == ("arguments.temperature: is not a training argument", 0)
    assert found["output"].count("STATUS failed") == 3
    assert "loss.softness: is not a known key; known are kind, options, loss" in found["output"]
    assert "loss.options.sharpness: is not an option of multiple_negatives_ranking" in found["output"]
    assert "loss.kind: no loss is named 'my_losses.Softer'" in found["output"]
