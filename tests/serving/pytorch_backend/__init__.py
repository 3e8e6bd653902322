"""Small TorchScript models, their configurations and a client, to hold the ``pytorch`` backend to its contract.

The contract is what the C++ backend of release 24.10 was seen to do. Where it refuses, the embedded one refuses; where
it would answer wrongly, the embedded one refuses and says why; what it serves, the embedded one serves. What fails when
the embedded backend is kinder than that, or lacks it (``load`` is the model of that name in
``test_models_that_cannot_be_served_fail_their_load_and_say_why``):

==================================================  ====================================================================
what the C++ backend does                           test
==================================================  ====================================================================
``batch_output`` of two names: second output lost   load ``batch_output_of_two_names``
``batch_input`` of two names: refused               load ``batch_input_of_two_names``
``optional`` input: refused                         load ``optional_input``; every configured input must be given
``List[str]`` of joined requests: the first's       load ``text_of_joined_requests``
text for TYPE_FP32: answered as BYTES               what ``forward`` may not return [text]
output shorter than the batch: some answered        an output too short for all that joined; [short]
scattered output too short: reads past it           a scattered output with too few elements
``ENABLE_WEIGHT_SHARING``: one module               all instances share one module; ``test_weight_sharing.py``
``Dict[str, Tensor]``: served                       a dictionary of tensors has the names of the inputs
``sequence_batching``: served                       ``test_sequences.py``
index twice or too high, unknown batch input: 500   load ``two_inputs_of_one_index``, ``index_too_high``,
                                                    ``batch_input_of_unknown_name``
``INTRA_OP_THREAD_COUNT: "2abc"``: taken as 2       load ``integer_with_letters_behind``
outputs in the order of their names                 outputs are answered in the order of their names
log lines of each instance                          an instance says how it is executed
unsupported data type: refused, named               load ``uint16`` and its like, ``output_of_uint16``
an empty request: others get memory of nobody's     an empty request is refused and those that would join it answered
a short question waits for a long passage           ``test_container_stand_in.py``
==================================================  ====================================================================
"""
