"""The launch section: how many processes train together, and on what."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from embedstep.request.scalars import Boolean, Integer, Number, Spelled, Text
from embedstep.request.section import Section, Source, described
from embedstep.runtime.secrets import SECRET_NAME

KubernetesName = Annotated[
    Text,
    Spelled(
        r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?",
        "a name of Kubernetes: small letters, digits, '-' and '.', 253 at most, with a letter or digit at both ends",
    ),
]
Variable = Annotated[
    Text, Spelled(r"[A-Za-z_][A-Za-z0-9_]*", "a variable's name: letters, digits and '_', and no digit first")
]
Quantity = Annotated[Text, Spelled(r"[0-9]+(\.[0-9]+)?(m|[kMGTPE]|[KMGTPE]i)?", "a quantity such as 8, 500m or 64Gi")]
"""A quantity of Kubernetes as text: as a number, 2.5 would be refused by the API server."""
Alarm = Literal["not_finite", "zero_gradients", "exploding_gradients", "collapse"]
Folder = Annotated[Text, Spelled(r"/.*[^/]", "a folder's whole path, from / on and without one at its end")]


class SecretKey(Section):
    """One key of a Secret."""

    secret: KubernetesName = described(..., "Name of the Secret.")
    key: Text = described(..., "Key in it.")


class Volume(Section):
    """A PersistentVolumeClaim that every pod mounts."""

    claim: KubernetesName = described(..., "Name of the claim; several nodes need access mode ReadWriteMany.")
    path: Folder = described(..., "Where it is mounted.")
    read_only: Boolean = described(False, "Mount it without the right to write.")


class Toleration(Section):
    """A taint that the pods do not mind."""

    key: Text = described(..., "Key of the taint.")
    value: Text | None = described(None, "Its value; any when null.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = described(
        None, "Its effect; any when null."
    )


class TrainJob(Section):
    """What the pods of a TrainJob of Kubeflow Trainer are like."""

    image: Source = described(..., "Image with embedstep, the same for every node.")
    output: Folder = described(..., "Output folder, on a volume that every pod mounts.")
    namespace: KubernetesName | None = described(
        None, "Namespace. Null: that of the pod that submits, else that of the kubeconfig's context."
    )
    runtime: KubernetesName = described("torch-distributed", "The runtime that the controller makes the pods by.")
    runtime_kind: Literal["ClusterTrainingRuntime", "TrainingRuntime"] = described(
        "ClusterTrainingRuntime", "Whether it is the cluster's, or one of the namespace."
    )
    resources: dict[Text, Quantity] = described(
        {}, "Resources of each node, requested and allowed: `{cpu: '8', memory: 64Gi, nvidia.com/gpu: '8'}`."
    )
    secrets: dict[Variable, SecretKey] = described(
        {}, "Variables whose values are keys of Secrets: `{HF_TOKEN: {secret: hub, key: token}}`."
    )
    environment: dict[Variable, Text] = described({}, "Variables with plain values, such as MLFLOW_TRACKING_URI.")
    volumes: list[Volume] = described([], "Volumes that every pod mounts.")
    shared_memory: Quantity | None = described(
        None, "Most that /dev/shm takes, such as `16Gi`. Null: as much as the pod's memory allows."
    )
    node_selector: dict[Text, Text] = described({}, "Labels of the nodes.")
    tolerations: list[Toleration] = described([], "Taints that the pods do not mind.")
    labels: dict[Text, Text] = described(
        {}, "Labels of the TrainJob, such as Kueue's `kueue.x-k8s.io/queue-name` and `kueue.x-k8s.io/priority-class`."
    )
    service_account: KubernetesName | None = described(None, "ServiceAccount of the pods.")
    image_pull_secrets: list[KubernetesName] = described([], "Secrets by which the image is pulled.")
    pending_minutes: Annotated[Number, Field(gt=0)] = described(
        60.0, "Minutes that the pods may wait for their nodes before the job is given up."
    )

    @model_validator(mode="after")
    def _nothing_is_secret(self) -> "TrainJob":
        for name in filter(SECRET_NAME.search, self.environment):
            told = f"environment.{name} is a secret by its name; write secrets: {{{name}: {{secret: ..., key: ...}}}}"
            raise ValueError(told)
        return self

    @model_validator(mode="after")
    def _output_is_shared(self) -> "TrainJob":
        places = [volume.path for volume in self.volumes if not volume.read_only]
        if not any(self.output.startswith(f"{place}/") for place in places):
            told = ", ".join(places) or "none is there"
            raise ValueError(f"output {self.output} is not in a folder of a volume that the pods can write on ({told})")
        return self


class Launch(Section):
    """How many processes train together, on what, and for how long."""

    kind: Literal["local", "trainjob"] = described(
        "local", "`local` starts the processes here; `trainjob` has Kubeflow Trainer start them in pods of a cluster."
    )
    nodes: Annotated[Integer, Field(gt=0)] = described(
        1,
        "Number of machines. With the kind `local` somebody starts `embedstep run` on each of them, and says by "
        "variables which it is.",
    )
    meeting_minutes: Annotated[Number, Field(gt=0)] = described(
        15.0, "Minutes that a machine which is there waits for the others."
    )
    processes_per_node: Literal["auto"] | Annotated[Integer, Field(gt=0)] = described(
        "auto", "Processes on each machine. `auto` takes one for each visible GPU, and one on a machine without a GPU."
    )
    max_hours: Annotated[Number, Field(gt=0)] | None = described(
        None,
        "Hours of wall time after which the training stops, at the end of a train step. The step then ends well, with "
        "its best checkpoint where one is kept and the newest weights else, and says so.",
    )
    stop_on: list[Alarm] = described(
        [],
        "Numbers gone bad that end the training, with the last good checkpoint kept: `not_finite` losses or gradients, "
        "`zero_gradients` in three logs, `exploding_gradients` of 100 times the norm before, `collapse` of the "
        "embeddings to one point. Each is told when it is seen in a log, whether it ends the training or not.",
    )
    max_restarts: Annotated[Integer, Field(ge=0)] = described(
        0,
        "How often all processes are started again, from the last whole checkpoint, when one of them or a machine is "
        "lost or raises. What is refused, has no memory or was told to end is not started again.",
    )
    grace_seconds: Annotated[Number, Field(ge=2)] = described(
        30.0,
        "Seconds from a signal (SIGTERM, Ctrl-C) to the end of the step. In five sixths of them all processes stop "
        "after the same train step, save a checkpoint and end; who has not by then is killed. The pods of a "
        "TrainJob get as many.",
    )
    trainjob: TrainJob | None = described(None, "The pods, for the kind `trainjob`.")

    @property
    def seconds_to_save(self) -> float:
        """Seconds of the grace that the processes have; the rest is for what the step says and records of its end."""
        return self.grace_seconds * 5 / 6

    @property
    def seconds_to_record(self) -> float:
        """Seconds of the grace after which nothing is sent any more, so that the step ends within it."""
        return self.grace_seconds - 1

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "Launch":
        if (self.kind == "trainjob") != (self.trainjob is not None):
            raise ValueError("kind: trainjob and the section trainjob belong together")
        return self
