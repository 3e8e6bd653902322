"""The task of acceptability: is this sentence grammatical, as CoLA asks it?"""
