"""The files that outlive a run, as types: what is written is what can be read.

In: a file, or what a run knows. Out: a checked record, or two lines on what is wrong with the file.

========================= ========================== ===========================================
file in the workdir       class                      says
========================= ========================== ===========================================
``experiments/ID.json``   :class:`ExperimentRecord`  what one ``kitsbench run`` asked for
``.../latest.json``       :class:`LatestRecord`      which of them was begun or reported last
``../ID/accounts.json``   :class:`AccountsRecord`    where the wall time of its calls went
``../ID/looks.json``      :class:`LooksRecord`       looks that were taken while trials came in
``trials/ID/trial.json``  :class:`TrialRecord`       what the trial is (hashed: its id); context
``.../status.json``       :class:`Status`            how far it came, and why it failed
``.../ledger.json``       :class:`LedgerRecord`      what it spent, stage by stage
``.../environment.json``  :class:`EnvironmentRecord` on what it ran, and by which kitsbench
``.../unscored.json``     :class:`Unscored`          why it could not be scored once more
``.../scores.partial.json`` :class:`PartialScoresRecord` cases that were scored before a kill
``.../progress.json``     :class:`TrialProgress`     how far a trial is that is worked on
``.../stops.json``        :class:`StopsRecord`       when its job was cut short and went on
``.../lease.json``        :class:`LeaseRecord`       who works on it
``running/*.json``        :class:`LeaseRecord`       who runs an experiment there
``jobs/ID.json``          :class:`JobRecord`         which job of a cluster works on a trial
``profiles/*.json``       :class:`ProfileRecord`     speed and memory of an entrant's network
``costs/HASH.json``       :class:`CostsRecord`       parameters and FLOPs of a network
``cases/DATASET.json``    :class:`CasesRecord`       sizes of what is sought in each case
========================= ========================== ===========================================

Every key is there or the file is refused: a default would be a second opinion of what was meant.
The tables beside them are in :mod:`kitsbench.experiments.tables`; the request that led to an
experiment, ``experiments/ID/request.json``, is in :mod:`kitsbench.experiments.asked.again`.
"""

from kitsbench.experiments.records.accounts import AccountsRecord, Call, Sitting, in_all
from kitsbench.experiments.records.experiment import (
    ElsewhereRecord,
    EntrantRecord,
    ExperimentRecord,
    LatestRecord,
    PlannedTrial,
    Range,
    Spent,
    StudyRecord,
    TriedSettings,
    TuningRecord,
)
from kitsbench.experiments.records.jobs import JobRecord, Stop, StopsRecord
from kitsbench.experiments.records.kept import (
    experiment_file,
    experiments_of,
    find_experiment,
    has_experiments,
    keep_experiment,
    known_experiments,
    latest_file,
    make_latest,
    report_folder,
    request_file,
    try_experiment,
)
from kitsbench.experiments.records.looks import LooksRecord, Stopped, TakenLook
from kitsbench.experiments.records.measured import (
    CaseSize,
    CasesRecord,
    CostsRecord,
    EnvironmentRecord,
    LedgerRecord,
    ProfileRecord,
    profile_key,
)
from kitsbench.experiments.records.parts import (
    TRIAL_AGAIN,
    BudgetNote,
    DatasetNote,
    DeviceNote,
    FoldsNote,
    State,
    Triple,
    note,
)
from kitsbench.experiments.records.trial import (
    PENDING,
    DeviceUse,
    LeaseRecord,
    PartialScoresRecord,
    ScoreRow,
    Status,
    TrialContext,
    TrialIdentity,
    TrialProgress,
    TrialRecord,
    TuningPlace,
    Unscored,
)
from kitsbench.experiments.records.until import UntilNote

__all__ = [
    "PENDING",
    "TRIAL_AGAIN",
    "AccountsRecord",
    "BudgetNote",
    "Call",
    "CaseSize",
    "CasesRecord",
    "CostsRecord",
    "DatasetNote",
    "DeviceNote",
    "DeviceUse",
    "ElsewhereRecord",
    "EntrantRecord",
    "EnvironmentRecord",
    "ExperimentRecord",
    "FoldsNote",
    "JobRecord",
    "LatestRecord",
    "LeaseRecord",
    "LedgerRecord",
    "LooksRecord",
    "PartialScoresRecord",
    "PlannedTrial",
    "ProfileRecord",
    "Range",
    "ScoreRow",
    "Sitting",
    "Spent",
    "State",
    "Status",
    "Stop",
    "Stopped",
    "StopsRecord",
    "StudyRecord",
    "TakenLook",
    "TrialContext",
    "TrialIdentity",
    "TrialProgress",
    "TrialRecord",
    "TriedSettings",
    "Triple",
    "TuningPlace",
    "TuningRecord",
    "Unscored",
    "UntilNote",
    "experiment_file",
    "experiments_of",
    "find_experiment",
    "has_experiments",
    "in_all",
    "keep_experiment",
    "known_experiments",
    "latest_file",
    "make_latest",
    "note",
    "profile_key",
    "report_folder",
    "request_file",
    "try_experiment",
]
