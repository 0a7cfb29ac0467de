"""Small programs for those who work on Isthmus; `make help` lists what they are for."""
