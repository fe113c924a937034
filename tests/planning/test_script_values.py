import ast
from enum import Enum
from typing import Any

import pytest

from embedstep.planning.script import parse_script
from embedstep.planning.script_values import ENUMS, UnreadableError, read_value

CONSTANTS = """
from transformers import SchedulerType as Schedule
train_batch_size = 16
NAME: str = "microsoft/mpnet-base"
EPOCHS, RATE = 3, 2e-5
CONFIG = {"batch": 32, "rates": [1e-5, 2e-5]}
SIZES = [8, 16]
SIZES.append(32)
grows = {}
grows["batch"] = 4
same = 1
same = 1
once = 4
if is_test:
    once = 2
annotated: int
counter = 0
counter += 1
for step in range(3):
    pass
endless = endless + 1
class Config:
    BATCH = 64
    RATE: float = 3e-5
class Other:
    BATCH = 64
Other.BATCH = 8
class Size(Enum):
    SMALL = 16
config = Config()
"""


def value_of(expression: str) -> Any:
    """Value of an expression at the end of the constants."""
    script = parse_script(f"{CONSTANTS}\nfound = {expression}\n")
    assignment = script.tree.body[-1]
    assert isinstance(assignment, ast.Assign)
    return read_value(script, assignment.value)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("train_batch_size", 16),
        ("16*4", 64),
        ("-1", -1),
        ("2 ** 4 + 10 // 3 - 7 % 4", 16),
        ("EPOCHS", 3),
        ("RATE", 2e-5),
        ("'out/' + NAME", "out/microsoft/mpnet-base"),
        ("f'out/{NAME}-{train_batch_size}'", "out/microsoft/mpnet-base-16"),
        ("f'{RATE:.0e}-{NAME!r}'", "2e-05-'microsoft/mpnet-base'"),
        ('f\'models/{NAME.replace("/", "-")}\'', "models/microsoft-mpnet-base"),
        ("NAME if '/' not in NAME else NAME.split('/')[-1]", "mpnet-base"),
        ("CONFIG['batch']", 32),
        ("CONFIG['rates'][0]", 1e-5),
        ("{**CONFIG, 'batch': 8}['batch']", 8),
        ("dict(power=2, **CONFIG)['power']", 2),
        ("(1, 2)", [1, 2]),
        ("[1] + [2]", [1, 2]),
        ("str(train_batch_size)", "16"),
        ("int('4')", 4),
        ("not True", False),
        ("None", None),
        ("same", 1),
        ("Config.BATCH", 64),
        ("config.RATE", 3e-5),
        ("BatchSamplers.NO_DUPLICATES", "no_duplicates"),
        ("training_args.BatchSamplers.NO_DUPLICATES.value", "no_duplicates"),
        ("SchedulerType.REDUCE_ON_PLATEAU", "reduce_lr_on_plateau"),
        ("Schedule.REDUCE_ON_PLATEAU.value", "reduce_lr_on_plateau"),
        ("OptimizerNames.ADAMW_BNB", "adamw_bnb_8bit"),
        ("[FSDPOption.FULL_SHARD, 'auto_wrap']", ["full_shard", "auto_wrap"]),
    ],
)
def test_the_value_of_an_expression_is_read(expression: str, value: Any) -> None:
    found = value_of(expression)
    assert (found, type(found)) == (value, type(value))


LINE = CONSTANTS.count("\n") + 2


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("unknown", f"is computed in line {LINE} of the script; write the value"),
        ("os.environ['BATCH']", f"is computed in line {LINE} of the script; write the value"),
        ("args.batch_size", f"is computed in line {LINE} of the script; write the value"),
        ("int(os.getenv('BATCH', 16))", f"is computed in line {LINE} of the script; write the value"),
        ("1 / 0", f"is computed in line {LINE} of the script; write the value"),
        ("9 ** 9 ** 9", f"is computed in line {LINE} of the script; write the value"),
        ("'x' * 10 ** 9", f"is computed in line {LINE} of the script; write the value"),
        ("f'{1:999999999d}'", f"is computed in line {LINE} of the script; write the value"),
        ("CONFIG['none']", f"is computed in line {LINE} of the script; write the value"),
        ("Size.SMALL", f"is computed in line {LINE} of the script; write the value"),
        ("b'bytes'", f"is computed in line {LINE} of the script; write the value"),
        ("annotated", f"is computed in line {LINE} of the script; write the value"),
        ("once", "is once, which lines 13 and 15 of the script assign; write the value"),
        ("counter", "is computed in line 18 of the script; write the value"),
        ("step", "is computed in line 19 of the script; write the value"),
        ("endless", "is computed in line 21 of the script; write the value"),
        ("SIZES", "is SIZES, which line 8 of the script changes; write the value"),
        ("grows['batch']", "is grows, which line 10 of the script changes; write the value"),
        ("Other.BATCH", "is Other.BATCH, which line 27 of the script may change; write the value"),
    ],
)
def test_what_only_a_run_gives_is_refused_with_its_line(expression: str, reason: str) -> None:
    with pytest.raises(UnreadableError) as refused:
        value_of(expression)
    assert str(refused.value) == reason


def installed_enums() -> dict[str, type[Enum]]:
    """The enumerations of the installed libraries by name; EvaluationStrategy was the name of IntervalStrategy."""
    from sentence_transformers.sentence_transformer import training_args as sentence_transformers_args
    from transformers import debug_utils, trainer_utils, training_args

    modules = (trainer_utils, training_args, debug_utils, sentence_transformers_args)
    found = {name: getattr(module, name) for name in ENUMS for module in modules if hasattr(module, name)}
    return {"EvaluationStrategy": found["IntervalStrategy"], **found}


def test_the_table_has_the_members_of_the_installed_enums_with_another_value() -> None:
    installed = installed_enums()
    assert installed.keys() == ENUMS.keys()
    assert {
        name: {member.name: member.value for member in members if member.value != member.name.lower()}
        for name, members in installed.items()
    } == ENUMS
