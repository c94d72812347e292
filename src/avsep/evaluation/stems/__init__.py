"""Scores of sound files, whoever made them: pairs of files, folders of stems, several tools."""
