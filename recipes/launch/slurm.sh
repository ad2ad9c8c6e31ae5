#!/bin/bash
# Pretraining on several hosts under Slurm: sbatch recipes/launch/slurm.sh
# All hosts see the same folders. No cluster of GPUs has run this yet: see docs/parallel.md.
#SBATCH --job-name=dodam
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
# Before its time is over the run saves and stops by itself, or, where Slurm does not tell it when that is, two minutes
# before, when it is told to stop. Submitted again it goes on.

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

srun torchrun \
  --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "${RANKS_PER_NODE:-8}" \
  --rdzv-backend c10d --rdzv-endpoint "$head:29500" --rdzv-id "$SLURM_JOB_ID" \
  -m dodam pretrain --data data --tokenizer tokenizer --depth 24 --batch 512 --context 2048 --steps 20000 \
  --parallel.shard full --checkpoint-seconds 600 --out runs/large
