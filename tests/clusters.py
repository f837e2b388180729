"""What launchers of clusters tell the processes that they start, or that run inside of a job."""

JOB = {"SLURM_JOB_ID": "4711", "SLURM_NODELIST": "node1", "SLURM_NNODES": "1", "SLURM_NODEID": "0"}
ONE = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
SECOND = {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"}
CLUSTERS = {
    "a SLURM job of one task": JOB | ONE | {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train"},
    "a SLURM job of four tasks": JOB | ONE | {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train"},
    "a shell in a SLURM job": JOB | ONE | {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "bash"},
    "the second task of srun": JOB | SECOND | {"SLURM_JOB_NAME": "train"},
    "the second task of srun, so many a node": JOB | SECOND | {"SLURM_NTASKS_PER_NODE": "2"},
    "the second process of torchrun": {
        "LOCAL_RANK": "1",
        "RANK": "1",
        "GROUP_RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500",
        "TORCHELASTIC_RUN_ID": "none",
    },
}
"""Name -> environment."""
