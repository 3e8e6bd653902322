"""The stage between pretraining and fine-tuning on CoLA: sentences broken by rule, and minimal pairs from templates.

``corruption`` breaks sentences, ``minimal_pairs`` makes pairs of the phenomena grammars describe (``pairs.txt`` over
the words of ``lexicon.txt``), ``examples`` mixes both, labelled by sentence and word, and ``stage`` trains on them.
"""
