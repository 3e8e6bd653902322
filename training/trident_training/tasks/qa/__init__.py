"""The task of question answering: which span of this passage answers the question?"""
