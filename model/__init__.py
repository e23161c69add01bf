"""VidLA: the model, its trainer and its evaluation, on the tables that curation writes."""
