"""The library's trainer, doing what its arguments say also where the installed release ignores or breaks on them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from torch.utils.data import BatchSampler, DataLoader

from embedstep.errors import InvalidRequestError, Problem
from embedstep.sampling.epochs import Epochs
from embedstep.worker.trainer.callbacks import ResumeInsideEpoch
from embedstep.worker.trainer.loading import ByDataset, RankBatches, Tokens, begin_worker, file_of, parts_of
from embedstep.worker.trainer.resumable import ResumableTrainer
from embedstep.worker.trainer.tokens import Padding


class StepTrainer(ResumableTrainer):
    """A SentenceTransformerTrainer of which these arguments mean what they say, too.

    `auto_find_batch_size`, `data_seed`, `batch_sampler`, `train_sampling_strategy`, `include_num_input_tokens_seen`,
    `neftune_noise_alpha`, `bf16_full_eval`, `fp16_full_eval`, `dataloader_multiprocessing_context`,
    `dataloader_in_order`, and what `ResumableTrainer` saves. With their defaults nothing differs.
    """

    _is_for_training = False

    def __init__(
        self,
        *,
        epochs: Callable[[tuple[str, ...], int], Epochs | None] = lambda files, size: None,
        tokens: Mapping[str, Tokens] | None = None,
        **options: Any,
    ) -> None:
        """Build the library's trainer.

        Args:
            epochs: from files of prepared rows and the batch size of a rank to what the ranks take in each step, or
                None where the library forms the batches.
            tokens: the kept token ids of the datasets, by their files.
            options: of `ResumableTrainer`, and of the library's.
        """
        self._epochs = epochs
        self._tokens = tokens or {}
        super().__init__(**options)
        self.padding = Padding(self.model)
        self.data_collator.preprocess_fn = self.padding
        self.add_callback(ResumeInsideEpoch())

    @property
    def batch_size_found(self) -> int:
        """The batch size on each device that the training has ended with."""
        return int(self._train_batch_size)

    def train(self, resume_from_checkpoint: str | None = None, **options: Any) -> Any:
        """Train. While it lasts, the model names its input embeddings, which noise is added to."""
        embeddings = None if self.args.neftune_noise_alpha is None else _input_embeddings(self.model)
        if embeddings is not None:
            self.model.get_input_embeddings = lambda: embeddings
        try:
            return super().train(resume_from_checkpoint, **options)
        finally:
            if embeddings is not None:
                del self.model.get_input_embeddings

    def _inner_training_loop(self, batch_size: int | None = None, **options: Any) -> Any:
        """Train, unless it is the next try of `auto_find_batch_size`, and the one before has made steps.

        Raises:
            MemoryError: with what to write instead. The library would begin anew with the weights as they are by now.
        """
        if self.state.global_step:
            raise MemoryError(
                f"the memory ended after train step {self.state.global_step:,} with batches of "
                f"{self._train_batch_size}; auto_find_batch_size looks for a size in the first step only; write "
                f"arguments.per_device_train_batch_size: {batch_size}"
            )
        return super()._inner_training_loop(batch_size=batch_size, **options)

    def _build_dataloader(self, dataset: Any, batch_size: int, dataset_kind: str) -> DataLoader[Any]:
        """Build with the batch size that `auto_find_batch_size` is trying, and with the settings of the workers."""
        self._is_for_training = dataset_kind == "train"
        size = self._train_batch_size if self._is_for_training else batch_size
        parts = parts_of(dataset)
        epochs = self._epochs(tuple(map(file_of, parts)), size)
        if epochs is None:
            return self._loader(parts, super()._build_dataloader(dataset, size, dataset_kind).batch_sampler)
        batches = RankBatches(
            epochs,
            self.args.process_index,
            parts,
            self.args.batch_sampler.value,
            in_training=self._is_for_training,
        )
        return self._prepared(self._loader(parts, batches))

    def _prepared(self, loader: DataLoader[Any]) -> DataLoader[Any]:
        """Return a loader that puts batches on the device; what is a rank's own share is not shared out once more."""
        found = prepare_data_loader(
            loader,
            device=self.accelerator.device,
            num_processes=1,
            process_index=0,
            put_on_device=self.accelerator.device_placement,
            non_blocking=self.accelerator.non_blocking,
        )
        # By this mark the accelerator, which is given every loader, leaves one as it is.
        found._is_accelerate_prepared = True
        return found

    def _loader(self, parts: Sequence[Dataset], batches: Any) -> DataLoader[Any]:
        """Return a loader over the given batches of rows, with token ids where they are kept."""
        arguments = self.args
        workers = {}
        if arguments.dataloader_num_workers:
            workers = {
                "multiprocessing_context": arguments.dataloader_multiprocessing_context,
                "in_order": arguments.dataloader_in_order,
                "worker_init_fn": begin_worker,
            }
        return DataLoader(
            ByDataset(parts, [self._tokens.get(file_of(part), {}) for part in parts]),
            batch_sampler=batches,
            collate_fn=self.data_collator,
            num_workers=arguments.dataloader_num_workers,
            pin_memory=arguments.dataloader_pin_memory,
            persistent_workers=arguments.dataloader_persistent_workers,
            prefetch_factor=arguments.dataloader_prefetch_factor,
            # Workers that stay draw a seed once, and an attempt that goes on would draw it at another place.
            generator=torch.Generator() if arguments.dataloader_persistent_workers else None,
            **workers,
        )

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Build anew: a loader that was kept goes on to another order of its rows, and so to another loss."""
        self._eval_dataloaders.clear()
        return super().get_eval_dataloader(eval_dataset)

    def get_batch_sampler(
        self, dataset: Dataset, batch_size: int, drop_last: bool, **options: Any
    ) -> BatchSampler | None:
        """Draw with `data_seed`; an evaluation whose batches the library forms draws as ever."""
        return super().get_batch_sampler(dataset, batch_size, drop_last, **self._seeded(options))

    def get_multi_dataset_batch_sampler(self, *arguments: Any, **options: Any) -> BatchSampler:
        """Choose between datasets with `data_seed`."""
        return super().get_multi_dataset_batch_sampler(*arguments, **self._seeded(options))

    def _seeded(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the library's options with `data_seed` for its seed.

        All samplers of a loader share one generator. What chooses between datasets seeds it anew in each epoch, and
        with it their orders, which else would depend on how many epochs were drawn before.
        """
        if self.args.data_seed is None or not self._is_for_training:
            return options
        options["generator"].manual_seed(self.args.data_seed)
        return options | {"seed": self.args.data_seed}

    def _track_num_input_tokens(self, inputs: Mapping[str, Any]) -> None:
        """Count the tokens of every column; the library looks for one column without a prefix and counts none."""
        counted = self.args.include_num_input_tokens_seen
        if counted == "no":
            return
        tokens = sum(int(_tokens(name, inputs, counted)) for name in inputs if name.endswith("input_ids"))
        total = torch.tensor(tokens, device=self.args.device, dtype=torch.int64)
        self.state.num_input_tokens_seen += int(self.accelerator.gather(total).sum().item())

    def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
        """Leave gradients within the norm alone, on a CPU: a GPU would have to wait until the norm is known."""
        if self.args.device.type == "cpu":
            return clip_gradients(model, self.args.max_grad_norm)
        return super()._clip_grad_norm(model)

    def prediction_step(self, *arguments: Any, **options: Any) -> Any:
        """Keep the loss of each batch."""
        found = super().prediction_step(*arguments, **options)
        self._losses.append(found[0])
        return found

    def evaluation_loop(self, dataloader: DataLoader[Any], *arguments: Any, **options: Any) -> Any:
        """Evaluate in the asked precision, also while training, and give the weights back as they were.

        A batch counts by its rows in the loss: the library counts each for as many rows as `per_device_eval_batch_size`
        says, which is wrong for smaller ones. Several processes have none of those.
        """
        self._losses: list[Any] = []
        half = torch.bfloat16 if self.args.bf16_full_eval else torch.float16
        with cast_to(self.model, half) if self.args.bf16_full_eval or self.args.fp16_full_eval else nullcontext():
            output = super().evaluation_loop(dataloader, *arguments, **options)
        batches, name = dataloader.batch_sampler, f"{options.get('metric_key_prefix', 'eval')}_loss"
        if isinstance(batches, RankBatches) and name in output.metrics and len(set(sizes := batches.sizes)) > 1:
            rows = torch.tensor(sizes, dtype=torch.float64)
            losses = torch.stack([loss.double().cpu() for loss in self._losses])
            output.metrics[name] = float((losses * rows).sum() / rows.sum())
        return output


def _tokens(name: str, inputs: Mapping[str, Any], counted: str) -> int:
    """Return the tokens of one column; a static embedding has no padding, and no mask that tells it."""
    mask = inputs.get(f"{name.removesuffix('input_ids')}attention_mask")
    return int(mask.sum()) if counted == "non_padding" and mask is not None else int(inputs[name].numel())


def _input_embeddings(model: SentenceTransformer) -> torch.nn.Module:
    if not isinstance(model[0], Transformer):
        told = (
            f"adds noise to the token embeddings of a transformer, and the model starts with {type(model[0]).__name__}"
        )
        raise InvalidRequestError([Problem("arguments.neftune_noise_alpha", told)])
    embeddings: torch.nn.Module = model[0].model.get_input_embeddings()
    return embeddings


def clip_gradients(model: torch.nn.Module, most: float) -> torch.Tensor:
    """Do what `torch.nn.utils.clip_grad_norm_` does, without its pass over gradients that are short enough.

    torch multiplies those by one, which changes nothing and takes 6 % of a step of a static embedding.

    Returns:
        The norm before.
    """
    norm = torch.nn.utils.get_total_norm([weights.grad for weights in model.parameters() if weights.grad is not None])
    # This is what torch multiplies by where it is below one, rounded as there. What is not a number goes its way, too.
    if not most / (norm + 1e-6) >= 1:
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), most, norm)
    return norm


@contextmanager
def cast_to(model: torch.nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Hold the model's floating-point weights in another precision, and give back exactly those that were there.

    The library casts in place for good, and a model that is saved afterwards has lost half of its digits.
    """
    before = [(tensor, tensor.data) for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()]
    for tensor, data in before:
        tensor.data = data.to(dtype)
    try:
        yield
    finally:
        for tensor, data in before:
            tensor.data = data
