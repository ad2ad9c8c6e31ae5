"""Learning from rewards: prompts are answered, answers are rewarded, and what was better becomes likelier."""
