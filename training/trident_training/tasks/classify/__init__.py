"""Classification: texts, or pairs of them, under the labels that somebody's own data has."""
