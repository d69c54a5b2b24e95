"""The study of a search: trials in Optuna's storage, and a folder per trial for its training.

The storage is a journal file or a database. A process that runs a trial holds the lock in the
trial's folder, which the operating system frees when the process ends, however it ends. A running
trial whose lock is free was abandoned: the next process that asks for a trial continues it.
Importing this needs Optuna.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.trial import TrialState

from deepcompress.errors import UserError
from deepcompress.file_lock import locked, try_lock
from deepcompress.file_write import replace_file
from deepcompress.training.config import Outcome, Recipe, SearchRequest, StudyLocation, Trial
from deepcompress.training.sampler import BisectionSampler, RecipeSampler, StudySampler
from deepcompress.training.size_model import needed_size
from deepcompress.training.trial_record import read_trials, write_outcome

FORMAT = 2  # of a study; 1 had five objectives, and no mark
_FORMAT = "deepcompress_format"  # an attribute of the study
_WAITS_FOR = 3  # complete trials before the median stops one

# Optuna's pruner for each value of the option `early_stop`.
EARLY_STOP: dict[str, Callable[[SearchRequest], optuna.pruners.BasePruner]] = {
    "none": lambda request: optuna.pruners.NopPruner(),
    "median": lambda request: optuna.pruners.MedianPruner(n_startup_trials=_WAITS_FOR),
    "hyperband": lambda request: optuna.pruners.HyperbandPruner(
        min_resource=1, max_resource=max(1, request.measured_epochs)
    ),
}


class RunningTrial:
    """A trial that this process alone runs."""

    def __init__(
        self, handle: optuna.Trial, recipe: Recipe, folder: Path, request: SearchRequest
    ) -> None:
        self.number, self.recipe, self.folder = handle.number, recipe, folder
        self._handle, self._request = handle, request

    def report(self, step: int, outcome: Outcome) -> None:
        """Stores an intermediate value, an estimate of the final objective.

        Args:
            step: number of reports before.

        Raises:
            optuna.TrialPruned: the trial was stopped early.
        """
        study = self._handle.study
        if step not in study.get_trials(deepcopy=False)[self.number].intermediate_values:
            self._handle.report(self._estimate(outcome), step)
        # The pruner is asked first, because Hyperband keeps a record of what it was asked.
        stops = self._handle.should_prune()
        if stops and study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            write_outcome(self._handle, outcome)
            study.tell(self._handle, state=TrialState.PRUNED)
            raise optuna.TrialPruned

    def finish(self, outcome: Outcome) -> None:
        """Stores the outcome."""
        write_outcome(self._handle, outcome)
        self._handle.study.tell(self._handle, float(getattr(outcome, self._request.goal.objective)))

    def _estimate(self, outcome: Outcome) -> float:
        """The accuracy, or the size that the recipe needs for the tolerated loss."""
        if self._request.goal.objective == "accuracy":
            return outcome.accuracy
        return needed_size(self._request, self.recipe, outcome)


class Study:
    """The trials of one search; `open_study` makes it."""

    def __init__(
        self, record: optuna.Study, sampler: StudySampler, folder: Path, request: SearchRequest
    ) -> None:
        self._record, self._sampler = record, sampler
        self._folder, self._request = folder, request

    def trials(self) -> tuple[Trial, ...]:
        """All trials that have not failed, by number."""
        return read_trials(self._record.get_trials(deepcopy=False), self._request.base)

    def folder(self, number: int) -> Path:
        """Of a trial's training."""
        return self._folder / "trials" / f"{number:04}"

    @contextmanager
    def claim(self) -> Iterator[RunningTrial | None]:
        """A trial that this process alone runs inside the `with`: an abandoned or a new one.

        None if all trials of the request are finished or run in other processes.
        """
        with ExitStack() as held:
            with locked(self._folder / "lock"):
                trial = self._abandoned(held) or self._new(held)
            yield trial

    def _abandoned(self, held: ExitStack) -> RunningTrial | None:
        running = self._record.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in running:
            if self._hold(trial.number, held):
                # Optuna has no public way to a trial that another process began.
                return self._running(optuna.Trial(self._record, trial._trial_id))
        return None

    def _new(self, held: ExitStack) -> RunningTrial | None:
        if len(self.trials()) >= self._request.trials:
            return None
        handle = self._record.ask()
        self._hold(handle.number, held)
        return self._running(handle)

    def _running(self, handle: optuna.Trial) -> RunningTrial:
        for name, distribution in self._sampler.search_space.items():
            _suggest(handle, name, distribution)
        (trial,) = read_trials(
            [self._record.get_trials(deepcopy=False)[handle.number]], self._request.base
        )
        return RunningTrial(handle, trial.recipe, self.folder(trial.number), self._request)

    def _hold(self, number: int, held: ExitStack) -> bool:
        """Whether the trial's lock is now held, until `held` closes."""
        folder = self.folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a")
        if not try_lock(lock):
            lock.close()
            return False
        held.enter_context(lock)
        return True


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> None:
    """Sets a parameter by the sampler, unless the trial has it already."""
    if isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(name, distribution.choices)
        return
    limits: Any = distribution  # a range of floats or of integers
    of_floats = isinstance(distribution, FloatDistribution)
    suggest = trial.suggest_float if of_floats else trial.suggest_int
    suggest(name, limits.low, limits.high, log=limits.log)


def open_study(location: StudyLocation, request: SearchRequest) -> Study:
    """The study at a location, which is created if it does not exist.

    Raises:
        UserError: the storage cannot be opened, or holds a study of something else.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder, database = location.folder, location.database
    sampler = (BisectionSampler if request.method == "level" else RecipeSampler)(request)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock"):
            _refuse_foreign(folder, location.fingerprint)
            record = optuna.create_study(
                study_name=f"deepcompress-{location.fingerprint}",
                storage=_open_journal(folder) if database is None else _open_database(database),
                sampler=sampler,
                pruner=EARLY_STOP[request.early_stop](request),
                direction="maximize" if request.goal.objective == "accuracy" else "minimize",
                load_if_exists=True,
            )
            _refuse_old(record, location)
    except OSError as error:
        raise UserError(
            f"it cannot be written ({error.strerror or error})",
            f"study {folder}",
            "Free disk space or choose another folder",
        ) from None
    return Study(record, sampler, folder, request)


def _refuse_foreign(folder: Path, fingerprint: str) -> None:
    """The folder belongs to the first study that is opened in it."""
    mark = folder / "fingerprint"
    if not mark.is_file():
        replace_file(mark, fingerprint.encode())
    elif mark.read_text() != fingerprint:
        raise UserError(
            "it is of another model, other data, another goal or other options",
            f"study {folder}",
            "Choose another folder for this one, or delete that",
        )


def _refuse_old(record: optuna.Study, location: StudyLocation) -> None:
    is_new = len(record.directions) == 1 and not record.get_trials(deepcopy=False)
    if is_new and _FORMAT not in record.user_attrs:
        record.set_user_attr(_FORMAT, FORMAT)
    if record.user_attrs.get(_FORMAT) != FORMAT:
        raise UserError(
            "another version of deepcompress wrote it, and this one cannot continue it",
            f"study {location.folder}",
            "Delete it to search again, or choose another folder",
        )


def _open_journal(folder: Path) -> BaseStorage:
    journal = folder / "study.journal"
    lock = _JournalLock(folder / "journal.lock")
    lock.acquire()
    try:
        _drop_torn_line(journal)
    finally:
        lock.release()
    try:
        return JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))
    except (ValueError, KeyError, AssertionError):
        raise UserError(
            "the journal is damaged",
            f"study {journal}",
            f"Restore it from a copy, or delete {folder} to search again",
        ) from None


class _JournalLock(BaseJournalFileLock):
    """Unlike Optuna's locks, it is free at once when its holder is killed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held = ExitStack()

    def acquire(self) -> bool:
        self._held.enter_context(locked(self._path))
        return True

    def release(self) -> None:
        self._held.close()


def _drop_torn_line(journal: Path) -> None:
    """Removes the end of a line that a power failure cut off: no process has read it."""
    if journal.is_file():
        content = journal.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(journal, content.rfind(b"\n") + 1)


def _open_database(url: str) -> BaseStorage:
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return RDBStorage(url)
    except (ImportError, ValueError, RuntimeError, SQLAlchemyError, StorageInternalError) as error:
        raise UserError(
            f"the database cannot be opened ({str(error).splitlines()[0]})",
            f"study {url.split('://')[0]}://...",  # the rest may hold a password
            "See Optuna's documentation of RDBStorage for URLs, or name a folder instead",
        ) from None
