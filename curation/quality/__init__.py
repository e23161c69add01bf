"""Quality: signals of every clip, and policies, which choose clips by them and delete nothing."""
