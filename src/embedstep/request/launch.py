"""The section `launch`: the number of processes, where they run, and when training stops."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from embedstep.request.scalars import Boolean, Integer, Number, PositiveInteger, PositiveNumber, Text, TextPattern
from embedstep.request.section import Section, Source, described
from embedstep.runtime.secrets import SECRET_NAME

KubernetesName = Annotated[
    Text,
    TextPattern(
        r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?",
        "a Kubernetes name: up to 253 lower-case letters, digits, '-' and '.', with a letter or digit at both ends",
    ),
]
Variable = Annotated[
    Text, TextPattern(r"[A-Za-z_][A-Za-z0-9_]*", "a variable name: letters, digits and '_', not beginning with a digit")
]
Quantity = Annotated[
    Text, TextPattern(r"[0-9]+(\.[0-9]+)?(m|[kMGTPE]|[KMGTPE]i)?", "a quantity such as 8, 500m or 64Gi")
]
"""A Kubernetes quantity, always as text: the API server refuses the number 2.5."""
Alarm = Literal["not_finite", "zero_gradients", "exploding_gradients", "collapse"]
Folder = Annotated[Text, TextPattern(r"/.*[^/]", "an absolute path without a / at its end")]


class SecretKey(Section):
    """One key of a Secret."""

    secret: KubernetesName = described(..., "Name of the Secret.")
    key: Text = described(..., "Key in the Secret.")


class Volume(Section):
    """A PersistentVolumeClaim that every pod mounts."""

    claim: KubernetesName = described(..., "Name of the claim; several nodes need the access mode ReadWriteMany.")
    path: Folder = described(..., "Mount path.")
    read_only: Boolean = described(False, "Mount the volume read-only.")


class Toleration(Section):
    """A node taint that the pods tolerate."""

    key: Text = described(..., "Key of the taint.")
    value: Text | None = described(None, "Value of the taint. Null: any.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = described(
        None, "Effect of the taint. Null: any."
    )


class TrainJob(Section):
    """The pods of a Kubeflow TrainJob."""

    image: Source = described(..., "Container image with embedstep, for every node.")
    output: Folder = described(..., "Output folder, on a volume that every pod mounts.")
    namespace: KubernetesName | None = described(
        None, "Namespace. Null: the submitting pod's, else that of the kubeconfig's context."
    )
    runtime: KubernetesName = described("torch-distributed", "Training runtime from which the controller builds pods.")
    runtime_kind: Literal["ClusterTrainingRuntime", "TrainingRuntime"] = described(
        "ClusterTrainingRuntime", "Kind of the runtime: of the cluster or of the namespace."
    )
    resources: dict[Text, Quantity] = described(
        {}, "Requests and limits of each node: `{cpu: '8', memory: 64Gi, nvidia.com/gpu: '8'}`."
    )
    secrets: dict[Variable, SecretKey] = described(
        {}, "Environment variables from keys of Secrets: `{HF_TOKEN: {secret: hub, key: token}}`."
    )
    environment: dict[Variable, Text] = described(
        {}, "Environment variables with plain values, such as MLFLOW_TRACKING_URI."
    )
    volumes: list[Volume] = described([], "Volumes that every pod mounts.")
    shared_memory: Quantity | None = described(
        None, "Size limit of /dev/shm, such as `16Gi`. Null: limited by the pod's memory only."
    )
    node_selector: dict[Text, Text] = described({}, "Labels that the nodes must have.")
    tolerations: list[Toleration] = described([], "Node taints that the pods tolerate.")
    labels: dict[Text, Text] = described(
        {}, "Labels of the TrainJob, such as Kueue's `kueue.x-k8s.io/queue-name` and `kueue.x-k8s.io/priority-class`."
    )
    service_account: KubernetesName | None = described(None, "ServiceAccount of the pods.")
    image_pull_secrets: list[KubernetesName] = described([], "Secrets for pulling the image.")
    pending_minutes: PositiveNumber = described(60.0, "Minutes that pods may be pending before the job fails.")

    @model_validator(mode="after")
    def _has_no_plain_secret(self) -> "TrainJob":
        for name in filter(SECRET_NAME.search, self.environment):
            raise ValueError(
                f"environment.{name} is a secret by its name; write secrets: {{{name}: {{secret: ..., key: ...}}}}"
            )
        return self

    @model_validator(mode="after")
    def _output_is_shared(self) -> "TrainJob":
        writable = [volume.path for volume in self.volumes if not volume.read_only]
        if not any(self.output.startswith(f"{path}/") for path in writable):
            listed = ", ".join(writable) or "there are none"
            raise ValueError(f"output {self.output} is not on a writable volume of the pods ({listed})")
        return self


class Launch(Section):
    """The processes that train together, and the limits of their run."""

    kind: Literal["local", "trainjob"] = described(
        "local", "`local` starts the processes on this machine; `trainjob` as pods of a cluster, by Kubeflow Trainer."
    )
    nodes: PositiveInteger = described(
        1,
        "Number of nodes. With `kind: local`, run `embedstep run` on each of them, with its rank in an environment "
        "variable.",
    )
    join_timeout_minutes: PositiveNumber = described(
        15.0, "Minutes that a node waits for the first one to answer, and that one for the others once it has planned."
    )
    processes_per_node: Literal["auto"] | PositiveInteger = described(
        "auto", "Processes on each node. `auto`: one for each visible GPU, or one on a node without a GPU."
    )
    max_hours: PositiveNumber | None = described(
        None,
        "Wall-clock limit of the training in hours. Training stops after the train step in which it is reached, and "
        "the step succeeds with its best checkpoint, if one is kept, or with the latest weights.",
    )
    stop_on: list[Alarm] = described(
        [],
        "Alarms that end the training; the last good checkpoint is kept. `not_finite`: a loss or gradient is not "
        "finite. `zero_gradients`: gradients are zero in three logs. `exploding_gradients`: the gradient norm is 100 "
        "times that before. `collapse`: all embeddings are alike. Alarms that do not end the training are logged, too.",
    )
    max_restarts: Annotated[Integer, Field(ge=0)] = described(
        0,
        "How often all processes are restarted from the last complete checkpoint after a process or node was lost or "
        "raised an error. An invalid request, a lack of memory and a signal cause no restart.",
    )
    grace_seconds: Annotated[Number, Field(ge=2)] = described(
        30.0,
        "Seconds from a signal (SIGTERM, Ctrl-C) to the end of the step. Ranks have 5/6 of this time to save and exit; "
        "the rest are killed. It is also the grace period of a TrainJob's pods.",
    )
    trainjob: TrainJob | None = described(None, "The pods, for `kind: trainjob`.")

    @property
    def seconds_to_save(self) -> float:
        """Part of the grace period for the ranks; the rest is for the step's own messages and records."""
        return self.grace_seconds * 5 / 6

    @property
    def seconds_to_record(self) -> float:
        """Part of the grace period after which nothing is sent to the tracker, so that the step ends in time."""
        return self.grace_seconds - 1

    @model_validator(mode="after")
    def _kind_has_its_section(self) -> "Launch":
        if (self.kind == "trainjob") != (self.trainjob is not None):
            raise ValueError("kind: trainjob and the section trainjob belong together")
        return self
