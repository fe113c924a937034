"""The library's trainer with the arguments that the installed release ignores or fails on."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from torch.utils.data import BatchSampler, DataLoader

from embedstep.data.transforms import RowDrawer
from embedstep.errors import InvalidRequestError, Problem
from embedstep.sampling.epochs import Epochs
from embedstep.worker.models import cast_to, evaluation_precision
from embedstep.worker.trainer.callbacks import ResumeInsideEpoch
from embedstep.worker.trainer.loading import (
    ConcatenatedDatasets,
    RankBatches,
    Tokens,
    arrow_file,
    datasets_in,
    init_worker,
)
from embedstep.worker.trainer.resumable import ResumableTrainer
from embedstep.worker.trainer.tokens import Padding


class StepTrainer(ResumableTrainer):
    """A SentenceTransformerTrainer that also honors the arguments below; with their defaults nothing differs.

    `auto_find_batch_size`, `data_seed`, `batch_sampler`, `train_sampling_strategy`, `include_num_input_tokens_seen`,
    `neftune_noise_alpha`, `bf16_full_eval`, `fp16_full_eval`, `dataloader_multiprocessing_context`,
    `dataloader_in_order`, and those of `ResumableTrainer`. `tests/hooks.py` says why each private method is
    overridden.
    """

    _is_for_training = False

    def __init__(
        self,
        *,
        epochs: Callable[[tuple[str, ...], int], Epochs | None] = lambda files, size: None,
        tokens: Mapping[str, Tokens] | None = None,
        drawers: Mapping[str, RowDrawer] | None = None,
        **options: Any,
    ) -> None:
        """Build the library's trainer.

        Args:
            epochs: returns the batches of all ranks, given the files of prepared rows and the batch size of a rank;
                None if the library forms the batches.
            tokens: token ids of the datasets, by their files.
            drawers: what draws rows in each epoch, by the files of their datasets.
            options: arguments of `ResumableTrainer` and of the library's trainer.
        """
        self._epochs = epochs
        self._tokens = tokens or {}
        self._drawers = drawers or {}
        super().__init__(**options)
        self.padding = Padding(self.model)
        self.data_collator.preprocess_fn = self.padding
        self.add_callback(ResumeInsideEpoch())

    @property
    def batch_size_found(self) -> int:
        """The batch size per device at the end of the training, which `auto_find_batch_size` may have reduced."""
        return int(self._train_batch_size)

    def train(self, resume_from_checkpoint: str | None = None, **options: Any) -> Any:
        """Train. Meanwhile the model has `get_input_embeddings`, to whose output NEFTune adds noise."""
        embeddings = None if self.args.neftune_noise_alpha is None else _input_embeddings(self.model)
        if embeddings is not None:
            self.model.get_input_embeddings = lambda: embeddings
        try:
            return super().train(resume_from_checkpoint, **options)
        finally:
            self._end_persistent_workers()
            if embeddings is not None:
                del self.model.get_input_embeddings

    def _end_persistent_workers(self) -> None:
        """End the loader's workers here: a garbage collection would wait 10 s for each of them, and an exit 5 s.

        The queue of a loader that the garbage collector finds is closed before the loader asks its workers to end.
        """
        loader = getattr(self, "_train_dataloader", None)
        if loader is not None and loader.base_dataloader._iterator is not None:
            loader.base_dataloader._iterator._shutdown_workers()

    def _inner_training_loop(self, batch_size: int | None = None, **options: Any) -> Any:
        """Train, unless `auto_find_batch_size` retries with a smaller batch after steps were made.

        Raises:
            MemoryError: with the setting to use instead. The library would restart with the weights trained so far.
        """
        if self.state.global_step:
            raise MemoryError(
                f"out of memory after train step {self.state.global_step:,} with batches of {self._train_batch_size}; "
                "auto_find_batch_size reduces the size in the first step only; set "
                f"arguments.per_device_train_batch_size: {batch_size}"
            )
        return super()._inner_training_loop(batch_size=batch_size, **options)

    def _run_epoch(self, *arguments: Any, **options: Any) -> None:
        """Make no step after a checkpoint at which early stopping has ended the training."""
        if not self.control.should_training_stop:
            super()._run_epoch(*arguments, **options)

    def _build_dataloader(self, dataset: Any, batch_size: int, dataset_kind: str) -> DataLoader[Any]:
        """Build a loader of the planned batches, with the size that `auto_find_batch_size` is trying."""
        self._is_for_training = dataset_kind == "train"
        size = self._train_batch_size if self._is_for_training else batch_size
        parts = datasets_in(dataset)
        epochs = self._epochs(tuple(map(arrow_file, parts)), size)
        if epochs is None:
            return self._loader(parts, super()._build_dataloader(dataset, size, dataset_kind).batch_sampler)
        batches = RankBatches(
            epochs,
            self.args.process_index % epochs.world_size,  # its rank among those that share the rows
            parts,
            self.args.batch_sampler.value,
            in_training=self._is_for_training,
        )
        return self._prepared(self._loader(parts, batches))

    def _prepared(self, loader: DataLoader[Any]) -> DataLoader[Any]:
        """Return a loader that moves batches to the device. They are one rank's already and are not sharded again."""
        prepared = prepare_data_loader(
            loader,
            device=self.accelerator.device,
            num_processes=1,
            process_index=0,
            put_on_device=self.accelerator.device_placement,
            non_blocking=self.accelerator.non_blocking,
        )
        # The library passes every loader to the accelerator, which leaves one with this mark unchanged.
        prepared._is_accelerate_prepared = True
        return prepared

    def _loader(self, parts: Sequence[Dataset], batches: Any) -> DataLoader[Any]:
        """Return a loader of the given batches, with token ids in place of texts where there are any."""
        arguments = self.args
        workers = {}
        if arguments.dataloader_num_workers:
            workers = {
                "multiprocessing_context": arguments.dataloader_multiprocessing_context,
                "in_order": arguments.dataloader_in_order,
                "worker_init_fn": init_worker,
            }
        return DataLoader(
            ConcatenatedDatasets(
                parts,
                [self._tokens.get(arrow_file(part), {}) for part in parts],
                [self._drawers.get(arrow_file(part)) for part in parts],
            ),
            batch_sampler=batches,
            collate_fn=self.data_collator,
            num_workers=arguments.dataloader_num_workers,
            pin_memory=arguments.dataloader_pin_memory,
            # An evaluation has a loader of its own, whose workers need not wait for another one.
            persistent_workers=arguments.dataloader_persistent_workers and self._is_for_training,
            prefetch_factor=arguments.dataloader_prefetch_factor,
            # Persistent workers draw one seed; from the global generator, a resumed attempt would draw it elsewhere.
            generator=torch.Generator() if arguments.dataloader_persistent_workers else None,
            **workers,
        )

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Build a new loader each time: a cached one continues to another order of its rows, with another loss."""
        self._eval_dataloaders.clear()
        return super().get_eval_dataloader(eval_dataset)

    def get_batch_sampler(
        self, dataset: Dataset, batch_size: int, drop_last: bool, **options: Any
    ) -> BatchSampler | None:
        """Draw with `data_seed`, in a training; evaluations draw as the library does."""
        return super().get_batch_sampler(dataset, batch_size, drop_last, **self._seeded(options))

    def get_multi_dataset_batch_sampler(self, *arguments: Any, **options: Any) -> BatchSampler:
        """Choose between datasets with `data_seed`."""
        return super().get_multi_dataset_batch_sampler(*arguments, **self._seeded(options))

    def _seeded(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the library's options with `data_seed` as the seed.

        All samplers of a loader share one generator. The sampler that chooses between datasets reseeds it in each
        epoch; otherwise the orders would depend on how many epochs were drawn before.
        """
        if self.args.data_seed is None or not self._is_for_training:
            return options
        options["generator"].manual_seed(self.args.data_seed)
        return options | {"seed": self.args.data_seed}

    def _track_num_input_tokens(self, inputs: Mapping[str, Any]) -> None:
        """Count the tokens of all text columns; the library looks for one column without a prefix."""
        counted = self.args.include_num_input_tokens_seen
        if counted == "no":
            return
        tokens = sum(int(_tokens(name, inputs, counted)) for name in inputs if name.endswith("input_ids"))
        total = torch.tensor(tokens, device=self.args.device, dtype=torch.int64)
        self.state.num_input_tokens_seen += int(self.accelerator.gather(total).sum().item())

    def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
        """On a CPU, skip gradients within the norm; on a GPU, comparing the norm would wait for the device."""
        if self.args.device.type == "cpu":
            return clip_gradients(model, self.args.max_grad_norm)
        return super()._clip_grad_norm(model)

    def run_evaluator(self, steps: int) -> None:
        """Run the evaluator alone, in the precision of evaluations."""
        with self._evaluation_precision():
            super().run_evaluator(steps)

    def _evaluation_precision(self) -> AbstractContextManager[None]:
        half = evaluation_precision(bf16=self.args.bf16_full_eval, fp16=self.args.fp16_full_eval)
        return nullcontext() if half is None else cast_to(self.model, half)

    def prediction_step(self, *arguments: Any, **options: Any) -> Any:
        """Keep the loss of each batch for the weighted mean."""
        step = super().prediction_step(*arguments, **options)
        self._losses.append(step[0])
        return step

    def evaluation_loop(self, dataloader: DataLoader[Any], *arguments: Any, **options: Any) -> Any:
        """Evaluate in the requested precision, also during training, and restore the weights exactly.

        Each batch is weighted by its rows in the loss: the library weights all by `per_device_eval_batch_size`, also a
        smaller last one. With several processes there is none.
        """
        self._losses: list[Any] = []
        with self._evaluation_precision():
            output = super().evaluation_loop(dataloader, *arguments, **options)
        batches, name = dataloader.batch_sampler, f"{options.get('metric_key_prefix', 'eval')}_loss"
        if isinstance(batches, RankBatches) and name in output.metrics and len(set(sizes := batches.sizes)) > 1:
            rows = torch.tensor(sizes, dtype=torch.float64)
            losses = torch.stack([loss.double().cpu() for loss in self._losses])
            output.metrics[name] = float((losses * rows).sum() / rows.sum())
        return output


def _tokens(name: str, inputs: Mapping[str, Any], counted: str) -> int:
    """Return the tokens of one column; without a mask, as of a static embedding, there is no padding."""
    mask = inputs.get(f"{name.removesuffix('input_ids')}attention_mask")
    return int(mask.sum()) if counted == "non_padding" and mask is not None else int(inputs[name].numel())


def _input_embeddings(model: SentenceTransformer) -> torch.nn.Module:
    if not isinstance(model[0], Transformer):
        problem = f"adds noise to a transformer's token embeddings, and the model starts with {type(model[0]).__name__}"
        raise InvalidRequestError([Problem("arguments.neftune_noise_alpha", problem)])
    embeddings: torch.nn.Module = model[0].model.get_input_embeddings()
    return embeddings


def clip_gradients(model: torch.nn.Module, most: float) -> torch.Tensor:
    """Clip like `torch.nn.utils.clip_grad_norm_`, without its pass over gradients that are within the norm.

    torch multiplies those by one, which changes nothing and takes 6 % of a step of a static embedding.

    Returns:
        The norm before clipping.
    """
    norm = torch.nn.utils.get_total_norm([weights.grad for weights in model.parameters() if weights.grad is not None])
    # The factor that torch applies if it is below one, rounded as there; NaN takes the same path as in torch.
    if not most / (norm + 1e-6) >= 1:
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), most, norm)
    return norm
