"""What all pages share: their surroundings, the session, links, words, uploads and downloads."""
