from typing import Any

import pytest

from embedstep.errors import InvalidRequestError
from embedstep.planning.script import parse_script
from embedstep.planning.script_arguments import read_arguments

ALIAS = "from sentence_transformers import SentenceTransformerTrainingArguments as STArgs\n"


def read(script: str, line: int | None = None) -> tuple[dict[str, Any], list[str]]:
    """Values and problems of a script; line 1 is an import with an alias."""
    found = read_arguments(parse_script(ALIAS + script), line)
    return found.values, [str(problem) for problem in found.problems]


def refusal(script: str, line: int | None = None) -> str:
    with pytest.raises(InvalidRequestError) as refused:
        read(script, line)
    return str(refused.value)


TRAINING = {"do_train": True, "learning_rate": 5e-5, "per_device_train_batch_size": 32, "weight_decay": 0.0,
            "num_train_epochs": 3.0, "max_steps": -1, "gradient_accumulation_steps": 1, "seed": 42,
            "gradient_checkpointing": False}  # fmt: skip


@pytest.mark.parametrize(
    ("script", "values"),
    [
        ("STArgs('out', seed=7)", {"output_dir": "out", "seed": 7}),
        ("import embedstep as e\nargs = e.TrainingArguments(seed=7)", {"seed": 7}),
        ("COMMON = {'seed': 7}\nargs = STArgs(bf16=True, **COMMON)", {"bf16": True, "seed": 7}),
        ("args = STArgs(seed=1)\nargs.seed = 2\nargs.num_train_epochs = 5", {"seed": 2, "num_train_epochs": 5}),
        ("args = STArgs(seed=now())\nargs.seed = 2", {"seed": 2}),
        ("args = STArgs(evaluation_strategy='no')\nargs.eval_strategy = 'epoch'", {"eval_strategy": "epoch"}),
        ("args = STArgs(seed=1)\nother = args\nother.seed = 2", {"seed": 2}),
        ("args = STArgs(seed=1)\nsetattr(args, 'seed', 2)", {"seed": 2}),
        ("args.seed = 3\nargs = STArgs(seed=1)", {"seed": 1}),
        ("args = STArgs(learning_rate=1.0, seed=1)\nargs.set_training(batch_size=32)", TRAINING),
        ("args = STArgs(seed=1).set_training(5e-5, 32)", TRAINING),
        ("args = STArgs()\nargs = args.set_training(batch_size=32)\nargs.seed = 5", {**TRAINING, "seed": 5}),
        (
            "args = STArgs()\nargs.set_lr_scheduler(name='cosine', warmup_ratio=0.1)",
            {"lr_scheduler_type": "cosine", "num_train_epochs": 3.0, "max_steps": -1, "warmup_ratio": 0.1,
             "warmup_steps": 0.0},
        ),
        ("def make():\n    args = STArgs(seed=1)\n    return args\nargs = make()\nargs.seed = 2", {"seed": 2}),
        ("class T:\n  def __init__(self):\n    self.args = STArgs(seed=1)\n    self.args.seed = 2", {"seed": 2}),
        ("def main():\n    args = STArgs(seed=1)\n    args.seed = 2\nmain()", {"seed": 2}),
        ("if __name__ == '__main__':\n    args = STArgs()\n    args.seed = 2", {"seed": 2}),
        ("args = STArgs(seed=1)\ntrainer = Trainer(m, args)\ntrainer.args.seed = 2\ntrainer.train()", {"seed": 2}),
        ("args = parser.parse_args()\nargs = STArgs(seed=1)\nprint(args.to_json_string())", {"seed": 1}),
    ],
)  # fmt: skip
def test_the_arguments_are_those_at_the_start_of_the_training(script: str, values: dict[str, Any]) -> None:
    assert read(script) == (values, [])


@pytest.mark.parametrize(
    ("script", "problems"),
    [
        ("STArgs(seed=now())", ["arguments.seed: is computed in line 2 of the script; write the value"]),
        ("STArgs(**extra)", ["arguments.**: is computed in line 2 of the script; write the value"]),
        ("STArgs('out', True)", ["arguments: line 2 has a value without a name; write its name"]),
        (
            "args = STArgs()\nargs.seed *= 2",
            ["arguments.seed: is changed in line 3 of the script; write the value"],
        ),
        (
            "args = STArgs(seed=1)\nif is_test:\n    args.seed = 2",
            ["arguments.seed: is changed in line 4 of the script, under a condition or in a loop; write the value"],
        ),
        (
            "args = STArgs(seed=1)\ndef test():\n    args.seed = 2",
            ["arguments.seed: is changed in line 4 of the script, in another function; write the value"],
        ),
        (
            "args = STArgs()\nt = Trainer(args=args)\nt.train()\nargs.seed = 2",
            ["arguments.seed: is changed in line 5 of the script, after the training; write the value"],
        ),
        (
            "def make():\n    return STArgs()\na = make()\nb = make()\na.seed = 2",
            ["arguments.seed: is changed in line 6 of the script, for one of several trainings; write the value"],
        ),
        (
            "args = STArgs(lr_scheduler_kwargs={})\nargs.lr_scheduler_kwargs['power'] = 2",
            ["arguments.lr_scheduler_kwargs: is changed in line 3 of the script; write the value"],
        ),
        (
            "args = STArgs()\nargs.set_training(batch_size=size)",
            ["arguments: set_training in line 3 has a value that is computed in line 3 of the script; write the "
             "arguments that it sets"],
        ),
        (
            "args = STArgs()\nargs.set_training(batchsize=4)",
            ["arguments: line 3: ArgumentSetters.set_training() got an unexpected keyword argument 'batchsize'"],
        ),
        (
            "args = STArgs()\nargs.set_save(steps=0)",
            ["arguments.save_steps: must be above 0 with the strategy steps (line 3 of the script)"],
        ),
        (
            "args = STArgs()\nargs.set_all()",
            ["arguments: line 3: set_all is not carried over; write what it changes"],
        ),
        (
            "args = STArgs()\nargs._n_gpu = 1",
            ["arguments: line 3: _n_gpu is not carried over; write what it changes"],
        ),
        (
            "args = STArgs()\nargs = replace(args, seed=2)",
            ["arguments: line 3 assigns the arguments again; what that changes is not carried over; write it",
             "arguments: line 3 passes the arguments to replace, which may change them; write what it changes"],
        ),
        (
            "def test(a):\n    a.seed = 2\nargs = STArgs()\ntest(args)",
            ["arguments: line 5 passes the arguments to test, which may change them; write what it changes"],
        ),
        (
            "args = STArgs()\nt = Trainer(args=args)\nt.hyperparameter_search(n_trials=4)",
            ["arguments: line 4 searches hyper-parameters; the search is not carried over; write the values that it "
             "found"],
        ),
        (
            "for one in names:\n    args = STArgs()\n    args.seed = 2",
            ["arguments: line 3 is in a loop, and a request is one training; write a request for each"],
        ),
        (
            "args = STArgs()\nTrainer(args=args)\nTrainer(model=m)",
            ["arguments: line 4 makes a trainer that does not get the arguments of line 2; it is not carried over"],
        ),
        (
            "args = STArgs()\nTrainer(args=args).train()\nTrainer(args=args).train()",
            ["arguments: lines 3 and 4 train with the same arguments, and a request is one training; this is the "
             "first, write a request for each"],
        ),
    ],
)  # fmt: skip
def test_what_is_not_carried_over_is_named_with_its_line(script: str, problems: list[str]) -> None:
    assert read(script)[1] == problems


TWO = "def main():\n    STArgs(seed=1)\nSTArgs(\n    seed=2,\n)\n"


def test_of_several_calls_one_has_to_be_chosen_by_its_line() -> None:
    assert refusal(TWO) == (
        "calls SentenceTransformerTrainingArguments in lines 3 and 4, and a request is one training; choose one with "
        "--line, such as --line 3, and write a request for each"
    )
    assert refusal(TWO, 1) == "has no call of SentenceTransformerTrainingArguments in line 1, but in 3 and 4"
    assert read(TWO, 3) == ({"seed": 1}, [])
    assert read(TWO, 5) == ({"seed": 2}, [])


def test_with_a_chosen_call_only_its_own_changes_count() -> None:
    script = "a = STArgs(seed=1)\nb = STArgs(seed=2)\na.seed = 3\nb.seed = 4\nT(args=a).train()\nT(args=b).train()\n"
    assert read(script, 2) == ({"seed": 3}, [])
    assert read(script, 3) == ({"seed": 4}, [])


def test_a_variable_that_gets_the_arguments_of_two_trainings_is_followed_to_the_second_call() -> None:
    script = "args = STArgs(seed=1)\nTrainer(args=args).train()\nargs = STArgs(seed=2)\nargs.bf16 = True\n"
    assert read(script, 2) == ({"seed": 1}, [])
    assert read(script, 4) == ({"seed": 2, "bf16": True}, [])


def test_a_change_after_two_alternatives_counts_for_both() -> None:
    script = "if small:\n    args = STArgs(seed=1)\nelse:\n    args = STArgs(seed=2)\nargs.bf16 = True\n"
    assert read(script, 3) == ({"seed": 1, "bf16": True}, [])
    assert read(script, 5) == ({"seed": 2, "bf16": True}, [])
