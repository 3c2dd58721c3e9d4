"""The laboratory: tasks, peers, training, evaluation, comparison, pictures and the commands."""
