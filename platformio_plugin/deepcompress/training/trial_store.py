"""Where a search keeps its trials, so that machines can share them and a kill loses none.

Optuna stores them, in a journal file or a database. A trial is written down whole, with its
recipe, before it starts. Whoever runs it holds the lock in its folder, which the system frees when
the process ends, however it ends: a trial that is neither finished nor locked was abandoned, and
whoever asks next continues it in the same folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from deepcompress.errors import UserError
from deepcompress.file_lock import locked, try_lock
from deepcompress.training.config import Outcome, Recipe
from deepcompress.training.saliency import SCORES

if TYPE_CHECKING:
    import optuna

_RECIPE = "recipe"  # an attribute of Optuna's trial
# An outcome is Optuna's values of a trial, so that it is told in one operation.
_DIRECTIONS = {
    "accuracy": "maximize",
    "parameter_bytes": "minimize",
    "flash_bytes": "minimize",
    "cycles": "minimize",
    "nonzeros": "minimize",
}


@dataclass(frozen=True)
class Trial:
    """One training. `outcome` is None until it is finished."""

    number: int
    recipe: Recipe
    outcome: Outcome | None = None


class Study:
    """The trials of one search; `open_study` makes it."""

    def __init__(self, record: optuna.Study, folder: Path) -> None:
        self._record, self._folder = record, folder

    def trials(self) -> tuple[Trial, ...]:
        """All trials in the order of their numbers."""
        return tuple(
            Trial(
                trial.number,
                Recipe(**trial.user_attrs[_RECIPE]),
                _outcome(trial.values) if trial.state.is_finished() else None,
            )
            for trial in self._record.get_trials(deepcopy=False)
        )

    def folder(self, number: int) -> Path:
        """Where a trial's training keeps its files."""
        return self._folder / "trials" / f"{number:04}"

    @contextmanager
    def claim(
        self, count: int, suggest: Callable[[tuple[Trial, ...]], Recipe]
    ) -> Iterator[Trial | None]:
        """A trial that this process alone runs inside the `with`: an abandoned one, or a new one.

        None where `count` trials are finished or run elsewhere.

        Args:
            suggest: the recipe of the next trial, from all before it.
        """
        with ExitStack() as held:
            with locked(self._folder / "lock"):
                trial = self._abandoned(held) or self._new(held, count, suggest)
            yield trial

    def finish(self, trial: Trial, outcome: Outcome) -> None:
        """Notes a trial's outcome."""
        self._record.tell(trial.number, [getattr(outcome, name) for name in _DIRECTIONS])

    def _abandoned(self, held: ExitStack) -> Trial | None:
        unfinished = (trial for trial in self.trials() if trial.outcome is None)
        return next((trial for trial in unfinished if self._hold(trial.number, held)), None)

    def _new(
        self, held: ExitStack, count: int, suggest: Callable[[tuple[Trial, ...]], Recipe]
    ) -> Trial | None:
        trials = self.trials()
        if len(trials) >= count:
            return None
        trial = Trial(len(trials), suggest(trials))
        self._hold(trial.number, held)
        self._write_down(trial.recipe)
        return trial

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

    def _write_down(self, recipe: Recipe) -> None:
        """In one operation of the storage. The parameters are for Optuna's own tools to show."""
        from optuna.trial import TrialState, create_trial

        shown = {name: value for name, value in asdict(recipe).items() if value is not None}
        self._record.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=shown,
                distributions={name: _distribution(value) for name, value in shown.items()},
                user_attrs={_RECIPE: asdict(recipe)},
            )
        )


def _outcome(values: list[float]) -> Outcome:
    by_name = dict(zip(_DIRECTIONS, values, strict=True))
    accuracy = by_name.pop("accuracy")
    return Outcome(accuracy=accuracy, **{name: int(value) for name, value in by_name.items()})


def _distribution(value: str | float) -> optuna.distributions.BaseDistribution:
    from optuna import distributions

    if isinstance(value, str):
        return distributions.CategoricalDistribution(SCORES)
    if isinstance(value, int):
        return distributions.IntDistribution(value, value)
    return distributions.FloatDistribution(value, value)


def open_study(study: Path | str, *, work: Path | None, fingerprint: str) -> Study:
    """The study of this name, made now if there is none.

    Args:
        study: a folder, or the URL of a database that Optuna knows.
        work: where the trials' folders are if the study is a database: the same for all machines.
        fingerprint: of all that decides the outcomes besides a recipe.

    Raises:
        UserError: Optuna is missing, the storage cannot be opened, or it is of something else.
    """
    optuna = _import_optuna()
    in_database = "://" in str(study)
    if in_database and work is None:
        raise ValueError("a study in a database needs a folder to work in")
    folder = work if in_database else Path(study)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock"):
            _refuse_foreign(folder, fingerprint)
            storage = _open_database(study) if in_database else _open_journal(folder)
            record = optuna.create_study(
                study_name=f"deepcompress-{fingerprint}",
                storage=storage,
                directions=list(_DIRECTIONS.values()),
                load_if_exists=True,
            )
    except OSError as error:
        raise UserError(
            f"it cannot be written ({error.strerror or error})",
            f"study {folder}",
            "Make room or choose another folder",
        ) from None
    return Study(record, folder)


def _import_optuna() -> ModuleType:
    try:
        import optuna
    except ImportError:
        raise UserError(
            "the search needs Optuna, which is not installed",
            "retraining",
            "Run pip install optuna matplotlib with the Python that has torch",
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _refuse_foreign(folder: Path, fingerprint: str) -> None:
    """The folder belongs to the first study that is opened in it."""
    mark = folder / "fingerprint"
    if not mark.is_file():
        fresh = mark.with_suffix(".new")
        fresh.write_text(fingerprint)
        fresh.replace(mark)
    elif mark.read_text() != fingerprint:
        raise UserError(
            "it is of another model, other data, another goal or other options",
            f"study {folder}",
            "Choose another folder for this one, or delete that",
        )


def _open_journal(folder: Path) -> optuna.storages.BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    journal = folder / "study.journal"
    lock = _JournalLock(journal.with_suffix(".journal.lock"))
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
            f"Restore it, or delete {folder} to begin anew",
        ) from None


class _JournalLock:
    """Unlike Optuna's locks, free at once when its holder is killed. It is duck-typed to them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held = ExitStack()

    def acquire(self) -> bool:
        self._held.enter_context(locked(self._path))
        return True

    def release(self) -> None:
        self._held.close()


def _drop_torn_line(journal: Path) -> None:
    """What a power failure cut off in the middle was never told to anyone."""
    if journal.is_file():
        content = journal.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(journal, content.rfind(b"\n") + 1)


def _open_database(url: str) -> optuna.storages.BaseStorage:
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
