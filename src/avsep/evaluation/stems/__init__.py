"""Score sound files of any tool: pairs of files and folders of stems."""
