"""Code that a model brings along (`trust_remote_code`), so that what was saved loads again.

The library saves the file of a module's class in the module's folder, and looks for it in the folder of the model.
"""

import shutil
from pathlib import Path

from embedstep.result import read_json

_OF_LIBRARY = "sentence_transformers."


def lay_code_where_it_is_looked_for(model: Path) -> None:
    """Copy the files of classes that are not the library's beside the list of the modules.

    Args:
        model: folder of a saved model; one without a list of modules has nothing to copy.
    """
    listed = model / "modules.json"
    for module in read_json(listed) if listed.exists() else ():
        if not module["type"].startswith(_OF_LIBRARY):
            for file in (model / module["path"]).glob("*.py"):
                if not (model / file.name).exists():
                    shutil.copyfile(file, model / file.name)
