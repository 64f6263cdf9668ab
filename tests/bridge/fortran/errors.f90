! SPDX-License-Identifier: Apache-2.0
!> Everything that a host can do wrong, one after the other in one process, with the status and the message of each.
!! The coupling files say `on_error: return`.
program errors
   use, intrinsic :: iso_fortran_env, only: real64
   use coupler_plugin, only: coupler_t
   use testing, only: argument, report_error
   implicit none
   real(real64), target :: tas(3) = 1.0_real64, lai(3)
   integer :: rc

   call before_init()
   call wrong_files()
   call wrong_cells()
   call wrong_fields()
   call wrong_steps()

contains

   !> A coupler of one of the files in the folder that the first argument names, with three cells.
   subroutine make(coupler, file)
      type(coupler_t), intent(out) :: coupler
      character(len=*), intent(in) :: file

      call coupler%init(argument(1)//'/'//file, start='2001-01-01', dt=3600.0d0)
      call coupler%set_cells([1, 2, 3], tas, tas)
   end subroutine make

   subroutine before_init()
      type(coupler_t) :: coupler

      call coupler%step(rc=rc)
      call report_error('step_before_init', coupler, rc)
      call coupler%finalize(rc=rc)
      call report_error('finalize_before_init', coupler, rc)
   end subroutine before_init

   subroutine wrong_files()
      type(coupler_t) :: coupler

      call coupler%init('nowhere.yml', start='2001-01-01', dt=3600.0d0, rc=rc)
      call report_error('config_missing', coupler, rc)
      call coupler%init(argument(1)//'/misspelt.yml', start='2001-01-01', dt=3600.0d0, rc=rc)
      call report_error('config_misspelt', coupler, rc)
      call coupler%init(argument(1)//'/no_model.yml', start='2001-01-01', dt=3600.0d0, rc=rc)
      call report_error('model_missing', coupler, rc)
      call coupler%init(argument(1)//'/good.yml', comm=0, start='2001-01-01', dt=3600.0d0, rc=rc)
      call report_error('comm_without_mpi', coupler, rc)
      call coupler%init('f'//char(228)//'r.yml', start='2001-01-01', dt=3600.0d0, rc=rc)
      call report_error('latin_1', coupler, rc)
   end subroutine wrong_files

   subroutine wrong_cells()
      type(coupler_t) :: coupler

      call coupler%init(argument(1)//'/good.yml', start='2001-01-01', dt=3600.0d0)
      call coupler%bind('tas', tas, rc=rc)
      call report_error('bind_before_set_cells', coupler, rc)
      call coupler%step(rc=rc)
      call report_error('step_before_set_cells', coupler, rc)
      call coupler%set_cells([1, 2, 3], tas, 100.0_real64*tas, rc=rc)
      call report_error('latitude_of_100', coupler, rc)
      call coupler%set_cells([1, 2, 2], tas, tas, rc=rc)
      call report_error('id_twice', coupler, rc)
      call coupler%set_cells(tas, tas, tas, rc=rc)
      call report_error('real_ids', coupler, rc)
      call coupler%set_cells([1, 2, 3], tas(:2), tas, rc=rc)
      call report_error('short_longitudes', coupler, rc)
      call coupler%finalize()
   end subroutine wrong_cells

   subroutine wrong_fields()
      type(coupler_t) :: coupler
      logical, target :: flags(3)
      integer, target :: counts(3)
      complex, target :: waves(3)
      real(real64), allocatable, target :: nothing(:)
      real(real64), pointer, save :: nowhere(:) => null()

      call make(coupler, 'good.yml')
      call coupler%bind('temprature_2m', tas, rc=rc)
      call report_error('unknown_field', coupler, rc)
      call coupler%bind('tas_', tas, rc=rc)
      call report_error('misspelt_field', coupler, rc)
      call coupler%bind('tas', flags, rc=rc)
      call report_error('logical_field', coupler, rc)
      call coupler%bind('tas', waves, rc=rc)
      call report_error('complex_field', coupler, rc)
      call coupler%bind('tas', counts, rc=rc)
      call report_error('integer_field', coupler, rc)
      call coupler%bind('tas', tas(:2), rc=rc)
      call report_error('short_field', coupler, rc)
      call coupler%bind('tas', nothing, rc=rc)
      call report_error('not_allocated', coupler, rc)
      call coupler%bind('tas', nowhere, rc=rc)
      call report_error('not_associated', coupler, rc)
      call assumed_size(coupler, tas)
      call coupler%bind('tas', tas, units='m', rc=rc)
      call report_error('wrong_units', coupler, rc)
      call coupler%bind('tas', tas, units='Kelvins of sorts', rc=rc)
      call report_error('unreadable_units', coupler, rc)
      call coupler%finalize()
   end subroutine wrong_fields

   subroutine assumed_size(coupler, field)
      type(coupler_t), intent(in) :: coupler
      real(real64), intent(inout), target :: field(*)

      call coupler%bind('tas', field, rc=rc)
      call report_error('assumed_size', coupler, rc)
      call coupler%bind('tas', field(1:3), rc=rc)
      call report_error('section_of_assumed_size', coupler, rc)
   end subroutine assumed_size

   subroutine wrong_steps()
      type(coupler_t) :: coupler

      call make(coupler, 'good.yml')
      call coupler%step(rc=rc)
      call report_error('step_before_bind', coupler, rc)
      call coupler%bind('tas', tas)
      call coupler%step(rc=rc)
      call report_error('output_not_bound', coupler, rc)
      call coupler%bind('lai', lai)
      call coupler%step(rc=rc)
      call report_error('all_is_well', coupler, rc)
      call coupler%finalize()
      call coupler%step(rc=rc)
      call report_error('step_after_finalize', coupler, rc)
      call coupler%finalize(rc=rc)
      call report_error('finalize_twice', coupler, rc)

      call make(coupler, 'touchy.yml')
      call coupler%bind('tas', tas)
      call coupler%bind('lai', lai)
      call coupler%step(rc=rc)
      call report_error('positive', coupler, rc)
      tas(2) = -1.0_real64
      lai = -9.0_real64
      call coupler%step(rc=rc)
      call report_error('exception_in_step', coupler, rc)
      call report_error('outputs_untouched', coupler, merge(0, 1, all(nint(lai) == -9)))
      call coupler%finalize()
      tas(2) = 1.0_real64

      call make(coupler, 'history.yml')
      call coupler%bind('tas', tas)
      call coupler%bind('lai', lai)
      call coupler%step(rc=rc)
      call report_error('history_nowhere', coupler, rc)
   end subroutine wrong_steps

end program errors
